# The server's image: built in one stage, run from another that has neither compiler nor build tools.
# `docker build -t opportune .`, then `docker run -p 50051:50051 opportune`.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/opportune
COPY deploy/build.lock deploy/serve.lock deploy/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r deploy/build.lock \
 && /opt/opportune/bin/pip install --no-cache-dir --require-hashes -r deploy/serve.lock
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY protos protos
COPY server server
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
 && /opt/opportune/bin/pip install --no-cache-dir --no-deps /dist/*.whl

FROM python:3.11-slim-bookworm
COPY --from=build /opt/opportune /opt/opportune
COPY model_artifacts /models
RUN useradd --system --uid 10001 --no-create-home opportune
USER 10001
ENV PATH=/opt/opportune/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    OPPORTUNE_LISTEN=0.0.0.0:50051 \
    OPPORTUNE_MODELS=/models \
    OPPORTUNE_EPHEMERAL=true \
    OPPORTUNE_INSECURE=true
EXPOSE 50051
HEALTHCHECK --interval=10s --timeout=2s --start-period=30s \
  CMD ["python", "-m", "server", "health", "--address", "127.0.0.1:50051"]
ENTRYPOINT ["python", "-m", "server"]
CMD ["serve"]
