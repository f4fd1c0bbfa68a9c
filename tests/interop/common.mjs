// What both strangers need: a relay connection, and a wallet over NIP-47.
import { WebSocket } from "ws";
import { Relay, useWebSocketImplementation } from "nostr-tools/relay";
import { finalizeEvent, generateSecretKey, getPublicKey } from "nostr-tools/pure";
import * as nip44 from "nostr-tools/nip44";
import { hexToBytes } from "nostr-tools/utils";

useWebSocketImplementation(WebSocket);

export const now = () => Math.floor(Date.now() / 1000);
export const connect = (url) => Relay.connect(url);

/** A fresh key pair. */
export function stranger() {
  const secret = generateSecretKey();
  return { secret, pubkey: getPublicKey(secret) };
}

/** Signs and publishes; the relay has it when this returns. */
export async function say(relay, who, kind, tags, content = "") {
  const event = finalizeEvent({ kind, tags, content, created_at: now() }, who.secret);
  await relay.publish(event);
  return event;
}

/** The first event that passes `wanted`, or an error after `seconds`. */
export function hear(relay, filter, wanted, seconds = 15) {
  return new Promise((resolve, reject) => {
    const sub = relay.subscribe([filter], {
      onevent(event) {
        if (!wanted(event)) return;
        clearTimeout(timer);
        sub.close();
        resolve(event);
      },
    });
    const timer = setTimeout(() => {
      sub.close();
      reject(new Error(`nothing heard in ${seconds} s for ${JSON.stringify(filter)}`));
    }, seconds * 1000);
  });
}

export const tag = (event, name) => event.tags.find((t) => t[0] === name);

/** A wallet behind a `nostr+walletconnect://` address (NIP-47, encrypted by NIP-44). */
export class Wallet {
  constructor(uri) {
    const url = new URL(uri);
    this.service = url.host || url.pathname.replace(/^\/+/, "");
    this.relayUrl = url.searchParams.get("relay");
    const secret = hexToBytes(url.searchParams.get("secret"));
    this.me = { secret, pubkey: getPublicKey(secret) };
    this.key = nip44.getConversationKey(secret, this.service);
  }

  async call(method, params) {
    this.relay ??= await connect(this.relayUrl);
    const content = nip44.encrypt(JSON.stringify({ method, params }), this.key);
    const request = finalizeEvent(
      { kind: 23194, tags: [["p", this.service], ["encryption", "nip44_v2"]], content, created_at: now() },
      this.me.secret,
    );
    const reply = hear(this.relay, { kinds: [23195], authors: [this.service], "#e": [request.id] }, () => true);
    await this.relay.publish(request);
    const answer = JSON.parse(nip44.decrypt((await reply).content, this.key));
    if (answer.error) throw new Error(`${method}: ${answer.error.code} ${answer.error.message}`);
    return answer.result;
  }
}
