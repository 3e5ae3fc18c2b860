// The services of opportune.v1, and channels to them. `python -m opportune.client opportune` writes the files it reads.
import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const folder = process.env.OPPORTUNE_FILES ?? new URL("./opportune", import.meta.url).pathname;
const definition = protoLoader.loadSync(["opportune/v1/decision_service.proto", "opportune/v1/profile_service.proto"], {
  includeDirs: [folder],
  longs: String, // an int64 does not fit into a number
  enums: String,
  defaults: true,
  oneofs: true,
});

export const { DecisionService, ProfileService } = grpc.loadPackageDefinition(definition).opportune.v1;

export const channelOptions = {
  "grpc.service_config": readFileSync(`${folder}/service_config.json`, "utf-8"),
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
};

export const credentials = grpc.credentials.createInsecure();

/** A time of RFC 3339 as `google.protobuf.Timestamp`, to the millisecond. */
export function timestamp(text) {
  const milliseconds = Date.parse(text);
  if (Number.isNaN(milliseconds)) throw new RangeError(`${text} is no time as in 2017-08-08T12:00:00Z`);
  const seconds = Math.floor(milliseconds / 1_000);
  return { seconds, nanos: (milliseconds - seconds * 1_000) * 1_000_000 };
}

/** A unary call as a promise. */
export function call(client, method, request, metadata, deadlineMs) {
  const headers = new grpc.Metadata();
  for (const [key, value] of Object.entries(metadata)) headers.set(key, value);
  return new Promise((resolve, reject) => {
    const deadline = Date.now() + deadlineMs;
    client[method](request, headers, { deadline }, (error, response) => (error ? reject(error) : resolve(response)));
  });
}
