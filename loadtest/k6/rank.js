// RankOffers at a constant rate of arrival, and streams of deltas beside it. `python -m loadtest k6` runs it and says where.
//
//   ADDRESS   HOST:PORT of the server
//   PROTOS    folder that `python -m opportune.client` has written
//   REQUESTS  file of RankOffers requests, an array of JSON
//   RATE      calls a second; SECONDS how long; STREAMS how many streams of deltas, each a message after the other
//   SUMMARY   file to write the figures to
import grpc from "k6/net/grpc";
import exec from "k6/execution";
import { SharedArray } from "k6/data";
import { Counter, Trend } from "k6/metrics";

const { ADDRESS, PROTOS, REQUESTS, SUMMARY } = __ENV;
const RATE = Number(__ENV.RATE), SECONDS = Number(__ENV.SECONDS), STREAMS = Number(__ENV.STREAMS);

const WARM_UP_S = Number(__ENV.WARM_UP);

const requests = new SharedArray("requests", () => JSON.parse(open(REQUESTS)));
const client = new grpc.Client();
client.load([PROTOS], "opportune/v1/decision_service.proto", "opportune/v1/profile_service.proto");

const failed = new Counter("rank_failed");
const acknowledged = new Counter("messages_acknowledged");
const acknowledging = new Trend("acknowledge_duration", true);
const broken = new Counter("streams_broken");

const arrivals = { executor: "constant-arrival-rate", rate: RATE, timeUnit: "1s", preAllocatedVUs: 20, maxVUs: 400, exec: "rank" };
const scenarios = {
  // Connections are made and the server's caches filled before anything counts.
  warm: { ...arrivals, duration: `${WARM_UP_S}s`, gracefulStop: "0s" },
  rank: { ...arrivals, duration: `${SECONDS}s`, startTime: `${WARM_UP_S}s` },
};
if (STREAMS > 0) {
  scenarios.deltas = { executor: "per-vu-iterations", vus: STREAMS, iterations: 1, startTime: `${WARM_UP_S}s`, maxDuration: `${SECONDS + 10}s`, exec: "deltas" };
}
export const options = {
  scenarios,
  // Never missed: a threshold is what makes k6 report a scenario by itself.
  thresholds: { "grpc_req_duration{scenario:rank}": ["max>=0"], "dropped_iterations{scenario:rank}": ["count>=0"] },
  summaryTrendStats: ["med", "p(99)", "p(99.9)", "max", "count"],
};

let connected = false;

function connect() {
  if (!connected) client.connect(ADDRESS, { plaintext: true });
  connected = true;
}

export function rank() {
  connect();
  const request = requests[exec.scenario.iterationInTest % requests.length];
  const response = client.invoke("opportune.v1.DecisionService/RankOffers", request, { timeout: "5s" });
  if (response.status !== grpc.StatusOK && exec.scenario.name === "rank") failed.add(1);
}

export function deltas() {
  connect();
  const end = Date.now() + 1000 * SECONDS;
  const source = `k6-${exec.vu.idInTest}`;
  const stream = new grpc.Stream(client, "opportune.v1.ProfileService/StreamProfileDeltas");
  let sent = 0, answered = false;
  const send = (sequence) => {
    const visit = { customerId: `${source}:${sequence % 10}`, attributes: { increment: { a00: 1 } } };
    sent = Date.now();
    stream.write({ sequence: String(sequence), deltas: [visit] });
  };
  stream.on("data", (response) => {
    if (answered) {
      acknowledging.add(Date.now() - sent);
      acknowledged.add(1);
    }
    answered = true;
    if (Date.now() < end) send(Number(response.acknowledgedSequence || 0) + 1);
    else stream.end();
  });
  stream.on("error", () => broken.add(1));
  stream.write({ source });
}

export function handleSummary(data) {
  const values = Object.fromEntries(Object.entries(data.metrics).map(([name, metric]) => [name, metric.values]));
  return { [SUMMARY]: JSON.stringify(values) };
}
