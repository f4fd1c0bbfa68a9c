// A provider that is not ours, as small as one can be: node provider.mjs RELAY [WALLET]
// It answers prompts (kind 5050) by counting their words: free without a wallet, else 2,000 msat.
import { Wallet, connect, say, stranger, tag } from "./common.mjs";

const [relayUrl, walletUri] = process.argv.slice(2);
const PRICE_MSAT = 2000;
const relay = await connect(relayUrl);
const wallet = walletUri && new Wallet(walletUri);
const me = stranger();

async function paid(request) {
  const made = await wallet.call("make_invoice", { amount: PRICE_MSAT, description: `job ${request.id}` });
  const tags = [["status", "payment-required"], ["e", request.id], ["p", request.pubkey]];
  await say(relay, me, 7000, [...tags, ["amount", String(PRICE_MSAT), made.invoice]]);
  for (let turn = 0; turn < 60; turn += 1) {
    const seen = await wallet.call("lookup_invoice", { payment_hash: made.payment_hash });
    if (seen.settled_at || seen.state === "settled") return true;
    await new Promise((wake) => setTimeout(wake, 250));
  }
  return false;
}

async function answer(request) {
  const prompt = tag(request, "i")?.[1] ?? "";
  if (wallet && !(await paid(request))) return;
  const words = prompt.split(/\s+/).filter(Boolean).length;
  const tags = [["request", JSON.stringify(request)], ["e", request.id], ["p", request.pubkey]];
  if (wallet) tags.push(["amount", String(PRICE_MSAT)]);
  await say(relay, me, 6050, tags, `That prompt has ${words} words.`);
}

relay.subscribe([{ kinds: [5050], since: Math.floor(Date.now() / 1000) }], {
  onevent: (request) => answer(request).catch((error) => console.error(String(error))),
  oneose: () => console.log(JSON.stringify({ provider: me.pubkey })),
});
