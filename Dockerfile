# The server's image: built in one stage, run from another that has neither compiler nor build tools nor pip.
# `docker build -t opportune .`, then `docker run -p 50051:50051 opportune`. The same sources and base give the same image,
# file by file; for the same digest, fix the times too: `buildah bud --timestamp N`, or SOURCE_DATE_EPOCH with BuildKit's
# `rewrite-timestamp=true`. For production pin BASE by its digest.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS build
# Where pip finds packages, if not on PyPI; they stay in this stage, and the lock files have the hash of each.
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
ARG PIP_INDEX_URL
ARG SOURCE_DATE_EPOCH=1767225600
# A fixed seed, as compiled sets are written in the order of their hashes.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_COMPILE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONHASHSEED=0 \
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH}
WORKDIR /src
COPY deploy/build.lock deploy/serve.lock deploy/
RUN python3 -m venv /opt/build \
 && python3 -m venv --without-pip /opt/opportune \
 && /opt/build/bin/pip install --require-hashes -r deploy/build.lock \
 && /opt/build/bin/pip --python /opt/opportune/bin/python install --require-hashes -r deploy/serve.lock
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY protos protos
COPY server server
# Compiled once and never compared with its source, whose time says nothing in an image.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && /opt/build/bin/pip --python /opt/opportune/bin/python install --no-deps /dist/*.whl \
 && /opt/opportune/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/opportune/lib

FROM ${BASE}
COPY --from=build /opt/opportune /opt/opportune
COPY model_artifacts /models
ENV PATH=/opt/opportune/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OPPORTUNE_LISTEN=0.0.0.0:50051 \
    OPPORTUNE_MODELS=/models \
    OPPORTUNE_EPHEMERAL=true \
    OPPORTUNE_INSECURE=true
# Nobody in particular: no name is needed, and no file is written but in /tmp and in the data folder.
USER 10001:10001
WORKDIR /tmp
EXPOSE 50051
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["python", "-m", "server", "health", "--address", "127.0.0.1:50051"]
ENTRYPOINT ["python", "-m", "server"]
CMD ["serve"]
