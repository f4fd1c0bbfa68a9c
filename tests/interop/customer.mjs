// A customer that is not ours: node customer.mjs RELAY PROVIDER [WALLET]
// Without a wallet it takes what is free. One line per case; exit 1 if any went wrong.
import * as nip04 from "nostr-tools/nip04";
import * as nip44 from "nostr-tools/nip44";
import { Wallet, connect, hear, now, say, stranger, tag } from "./common.mjs";

const [relayUrl, provider, walletUri] = process.argv.slice(2);
const TEXT =
  "The relay carries events. A customer publishes a request and providers answer it. " +
  "Payment is a lightning invoice inside a feedback event. Rain fell on the harbour all day.";

const relay = await connect(relayUrl);
const wallet = walletUri && new Wallet(walletUri);

const ciphers = {
  plain: null,
  nip44: {
    seal: (me, text) => nip44.encrypt(text, nip44.getConversationKey(me.secret, provider)),
    open: (me, text) => nip44.decrypt(text, nip44.getConversationKey(me.secret, provider)),
  },
  nip04: {
    seal: (me, text) => nip04.encrypt(me.secret, provider, text),
    open: (me, text) => nip04.decrypt(me.secret, provider, text),
  },
};

/** The request, and how to read what comes back. */
async function request(cipher) {
  const me = stranger();
  const inside = [["i", TEXT, "text"], ["param", "length", "20 words"]];
  const outside = [["p", provider], ["relays", relayUrl], ["expiration", String(now() + 600)]];
  const event = cipher
    ? await say(relay, me, 5001, [...outside, ["encrypted"]], await cipher.seal(me, JSON.stringify(inside)))
    : await say(relay, me, 5001, [...outside, ...inside, ["output", "text/plain"]]);
  const read = async (reply) => (cipher && tag(reply, "encrypted") ? cipher.open(me, reply.content) : reply.content);
  return { me, event, read };
}

const about = (event, kinds) => ({ kinds, authors: [provider], "#e": [event.id] });
const status = (word) => (feedback) => tag(feedback, "status")?.[1] === word;

async function buy(cipher) {
  const { me, event, read } = await request(cipher);
  if (wallet) {
    const offer = await hear(relay, about(event, [7000]), status("payment-required"));
    const [, amount, invoice] = tag(offer, "amount");
    if (!(Number(amount) > 0) || !invoice.startsWith("lnbcrt")) throw new Error(`no invoice: ${offer.tags}`);
    // A hold invoice is paid only when the work is there, so the answer is not waited for.
    wallet.call("pay_invoice", { invoice }).catch((error) => console.error(String(error)));
  }
  const result = await hear(relay, about(event, [6001]), () => true);
  const content = await read(result);
  if (tag(result, "p")?.[1] !== me.pubkey) throw new Error("the result names another customer");
  if (!content || !TEXT.includes(content.split(".")[0])) throw new Error(`no summary: ${content}`);
  if (cipher && result.content.includes(content)) throw new Error("the result travels in the clear");
  return content;
}

/** Taken back before it is paid: an offer that nobody takes, and no result. */
async function cancel() {
  const { me, event } = await request(null);
  await hear(relay, about(event, [7000]), status("payment-required"));
  await say(relay, me, 5, [["e", event.id], ["k", "5001"]], "changed my mind");
  const silence = hear(relay, about(event, [6001]), () => true, 2);
  await silence.then(
    () => Promise.reject(new Error("a cancelled job was delivered")),
    () => {},
  );
  return "no result came";
}

async function refused() {
  const me = stranger();
  const event = await say(relay, me, 5001, [["i", "", "text"], ["p", provider]]);
  const feedback = await hear(relay, about(event, [7000]), status("error"));
  return tag(feedback, "status")[2] || feedback.content;
}

const cases = Object.entries(ciphers).map(([name, cipher]) => [name, () => buy(cipher)]);
cases.push(["refused", refused]);
if (wallet) cases.push(["cancel", cancel]);

let failed = false;
for (const [name, run] of cases) {
  try {
    console.log(JSON.stringify({ case: name, ok: true, detail: await run() }));
  } catch (error) {
    failed = true;
    console.log(JSON.stringify({ case: name, ok: false, detail: String(error) }));
  }
}
process.exit(failed ? 1 : 0);
