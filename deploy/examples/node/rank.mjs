// Ranks offers for one customer: `node rank.mjs HOST:PORT CUSTOMER PLACEMENT [TIME]`; RFC 3339, by default now.
import { randomUUID } from "node:crypto";
import { DecisionService, call, channelOptions, credentials, timestamp } from "./opportune.mjs";

const [address, customerId, placementId, time] = process.argv.slice(2);
// To see what another moment would have been answered; who shows the offers leaves it out.
const context = time === undefined ? undefined : { time: timestamp(time) };
const client = new DecisionService(address, credentials, channelOptions);
try {
  // With a requestId a retry is answered with the first decision. Behind a mesh the header finds the customer's server.
  const request = { customerId, placementId, context, includeContent: true, requestId: randomUUID() };
  const { decision } = await call(client, "RankOffers", request, { "x-opportune-customer": customerId }, 2_000);
  for (const offer of decision.offers) {
    console.log(`${offer.offerId}\t${offer.expectedValue.toFixed(4)}\t${offer.content.title ?? ""}`);
  }
  if (decision.offers.length === 0) console.log(decision.result);
} catch (error) {
  console.error(`${error.code}: ${error.details}`);
  process.exitCode = 1;
} finally {
  client.close();
}
