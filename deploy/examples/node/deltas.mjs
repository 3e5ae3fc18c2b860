// Publishes three visits of one customer: `node deltas.mjs HOST:PORT SOURCE CUSTOMER [ATTRIBUTE]`.
// Each adds one to the attribute, a number, by default `visits`. It ends with 1 if the server refused one of them.
//
// A stream is resumed, not retried: on each, first ask where the source left off, then send what comes behind that. What
// was sent twice is applied once, so a broken stream loses nothing as long as the messages are kept until acknowledged.
import { ProfileService, channelOptions, credentials } from "./opportune.mjs";

const [address, source, customerId, attribute = "visits"] = process.argv.slice(2);
const client = new ProfileService(address, credentials, channelOptions);
const visit = { customerId, attributes: { increment: { [attribute]: 1 } } };
const count = 3;
const attempts = 5;
let refused = 0; // a bad delta is refused alone: it is recorded there, and sending it again changes nothing
let last; // the sequence of the last message, once the first stream has said where the source left off

/** One stream: resolves with the acknowledgement of all messages, rejects if it ends before. */
function publish() {
  return new Promise((resolve, reject) => {
    const stream = client.StreamProfileDeltas();
    const ended = () => reject(new Error("the server ended the stream"));
    let answered = false;
    stream.on("error", reject);
    stream.on("end", ended);
    stream.on("data", (response) => {
      for (const { status } of response.rejected) {
        refused += 1;
        console.error(`refused: ${status.message}`);
      }
      const acknowledged = BigInt(response.acknowledgedSequence);
      // A producer with positions of its own, say of a Kafka partition, takes those instead of counting.
      last ??= acknowledged + BigInt(count);
      if (!answered) {
        for (let sequence = acknowledged + 1n; sequence <= last; sequence++) {
          stream.write({ sequence: sequence.toString(), deltas: [visit] });
        }
        answered = true;
      }
      if (acknowledged >= last) {
        stream.off("end", ended);
        stream.on("end", () => resolve(response));
        stream.end();
      }
    });
    stream.write({ source });
  });
}

for (let attempt = 1; ; attempt++) {
  try {
    const { acknowledgedSequence, profileVersion } = await publish();
    console.log(`acknowledged ${acknowledgedSequence} at version ${profileVersion}`);
    break;
  } catch (error) {
    console.error(error.message);
    if (attempt === attempts) {
      process.exitCode = 1;
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 100 * 2 ** attempt));
  }
}
if (refused) {
  console.error(`${refused} of ${count} refused: acknowledged, and not applied`);
  process.exitCode = 1;
}
client.close();
