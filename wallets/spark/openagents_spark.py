"""A Spark wallet as a program of OpenAgents Compute: the Breez SDK behind NIP-47's words, one JSON line each.

The protocol is in docs/wallets.md. What makes payments safe here:

* What is asked for is in a book of our own before anything is done about it. A payment is `begun` while its
  price is asked; `sending` is written and synced before the SDK is told to send.
* A payment is sent under an idempotency key made from its hash, which the SDK uses as the name of the
  transfer: however often it is sent, it moves once, and after a crash it is found again by that name.
* Only what was refused before it was sent is told as refused. Any other error of a send leaves the payment
  `sending`; the SDK is asked about it until it has an answer.
* `sync_wallet` reports success when it reached nobody. Only the event `SYNCED` counts as having asked.
"""

import asyncio
import fcntl
import hashlib
import importlib.metadata
import json
import os
import sqlite3
import sys
import threading
import time
import uuid

PACKAGE, PINNED = "breez-sdk-spark", "0.27.2"
INSTALL = "run `openagents wallet install spark`"

METHODS = ["get_info", "get_balance", "make_invoice", "pay_invoice", "lookup_invoice", "list_transactions"]
NOTIFICATIONS = ["payment_received", "payment_sent"]

# Seconds. A node waits ten for an ordinary answer, so ours are shorter.
CALL = 8
# A payment whose end is not known is asked about this often, should no event tell of it.
LOOK = 5
# The SDK may see a transfer late; one it does not know so long after its invoice expired was never made.
GRACE = 3600
# An orderly end of the SDK takes milliseconds.
FAREWELL = 2

# How many payments are read from the SDK, and given to a caller, at a time.
PAGE = 100
DEFAULT_LIMIT, MOST = 50, 500


class Refusal(Exception):
    """An error with its code of NIP-47. All but INTERNAL say that nothing was done."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


class Fatal(Exception):
    """Why the program cannot run."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


def failed(message):
    return Refusal("PAYMENT_FAILED", message)


def unknown(message):
    return Refusal("INTERNAL", message)


# ---------------------------------------------------------------------------------------------- protocol


class Mouth:
    """The one writer of what was stdout. No library can spoil the protocol: fd 1 leads to stderr from now on."""

    def __init__(self):
        self.out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
        os.dup2(2, 1)

    def say(self, message):
        self.out.write(json.dumps(message, separators=(",", ":")) + "\n")
        self.out.flush()

    def answer(self, number, method, result=None, error=None):
        answer = {"id": number, "result_type": method}
        if error is None:
            answer["result"] = result
        else:
            answer["error"] = {"code": error.code, "message": error.message}
        self.say(answer)


def first_line():
    line = sys.stdin.buffer.readline()
    setup = json.loads(line).get("setup") if line else None
    if not isinstance(setup, dict):
        raise Fatal("SETUP", "the first line has to be a setup")
    return setup


def lines_into(loop, queue):
    """Reads stdin in a thread: None at its end."""

    def read():
        for line in sys.stdin.buffer:
            loop.call_soon_threadsafe(queue.put_nowait, line)
        loop.call_soon_threadsafe(queue.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()


# -------------------------------------------------------------------------------------------------- book

SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS payments (
    hash TEXT NOT NULL, way TEXT NOT NULL, stage TEXT NOT NULL, invoice TEXT NOT NULL,
    description TEXT NOT NULL, amount INTEGER NOT NULL, fee INTEGER NOT NULL DEFAULT 0,
    max_fee INTEGER, created INTEGER NOT NULL, expires INTEGER NOT NULL,
    settled INTEGER, preimage TEXT, reason TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (hash, way)
);
CREATE INDEX IF NOT EXISTS by_time ON payments (created DESC, hash);
"""


class Book:
    """Every payment that was asked for or seen; amounts in millisatoshis, times in seconds.

    Stages: `open` and `settled` of those to us; `begun`, `sending`, `settled` and `failed` of those by us, and
    `seen`: under way, and begun elsewhere with the same seed.
    """

    def __init__(self, path):
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.row_factory = sqlite3.Row
        self.db.execute("PRAGMA journal_mode=WAL")
        # An answer is given only for what survives a power cut.
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.executescript(SCHEMA)
        # Its price was being asked when the program ended: it was never sent, and may be asked for again.
        self.db.execute("DELETE FROM payments WHERE stage = 'begun'")

    def belongs(self, name, value):
        """Notes what the book is about, once; what it says of it."""
        self.db.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (name, value))
        return self.db.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()[0]

    def get(self, payment_hash, way):
        query = "SELECT * FROM payments WHERE hash = ? AND way = ?"
        return self.db.execute(query, (payment_hash, way)).fetchone()

    def put(self, **row):
        names, places = ", ".join(row), ", ".join("?" * len(row))
        query = f"INSERT INTO payments ({names}) VALUES ({places})"
        self.db.execute(query, tuple(row.values()))

    def change(self, payment_hash, way, **values):
        names = ", ".join(f"{name} = ?" for name in values)
        query = f"UPDATE payments SET {names} WHERE hash = ? AND way = ?"
        self.db.execute(query, (*values.values(), payment_hash, way))

    def drop(self, payment_hash):
        """Forgets a payment of which it is known that it was not sent."""
        unsent = "way = 'outgoing' AND stage IN ('begun', 'sending')"
        self.db.execute(f"DELETE FROM payments WHERE hash = ? AND {unsent}", (payment_hash,))

    def doubtful(self):
        return self.db.execute("SELECT * FROM payments WHERE stage = 'sending'").fetchall()

    def page(self, wanted):
        """A page of the history, newest first."""
        where, values = ["1"], []
        if wanted.get("type") in ("incoming", "outgoing"):
            where.append("way = ?")
            values.append(wanted["type"])
        if not wanted.get("unpaid"):
            where.append("stage = 'settled'")
        for name, comparison in (("from", ">="), ("until", "<=")):
            if isinstance(wanted.get(name), int):
                where.append(f"created {comparison} ?")
                values.append(wanted[name])
        limit = min(natural(wanted, "limit") or DEFAULT_LIMIT, MOST)
        query = f"SELECT * FROM payments WHERE {' AND '.join(where)} ORDER BY created DESC, hash LIMIT ? OFFSET ?"
        return self.db.execute(query, (*values, limit, natural(wanted, "offset"))).fetchall()


def natural(params, name):
    value = params.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def now():
    return int(time.time())


def is_over(row):
    return row["stage"] in ("settled", "failed")


def words(row, asked_at):
    """A payment in the words of NIP-47. Expired is only what was unpaid when the operators were asked since."""
    state = {"settled": "settled", "failed": "failed"}.get(row["stage"], "pending")
    if row["stage"] == "open" and row["expires"] <= asked_at:
        state = "expired"
    payment = {
        "type": row["way"],
        "state": state,
        "invoice": row["invoice"],
        "description": row["description"],
        "payment_hash": row["hash"],
        "amount": row["amount"],
        "fees_paid": row["fee"],
        "created_at": row["created"],
        "expires_at": row["expires"],
    }
    if row["stage"] == "settled":
        payment["settled_at"] = row["settled"]
        if row["preimage"]:
            payment["preimage"] = row["preimage"]
    return payment


# ------------------------------------------------------------------------------------------------ wallet


def proves(preimage, payment_hash):
    try:
        return hashlib.sha256(bytes.fromhex(preimage)).hexdigest() == payment_hash
    except (TypeError, ValueError):
        return False


def key_of(payment_hash):
    """The idempotency key of a payment: one hash, one key, in every process and after every restore."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"openagents/{payment_hash}"))


def whole_sats(msat):
    if not isinstance(msat, int) or isinstance(msat, bool) or msat <= 0:
        raise Refusal("NOT_IMPLEMENTED", "an amount in millisatoshis is needed")
    if msat % 1000:
        raise Refusal("NOT_IMPLEMENTED", f"Spark moves whole satoshis, and {msat} msat is none; nothing was done")
    return msat // 1000


def text_of(error):
    """An SDK error's own words. Their first argument is the repr of a text."""
    text = str(error).strip("'\"") or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "…"


OFFLINE = ("dns error", "Transport error", "Connection error", "network error", "error sending request")


def is_offline(error):
    return isinstance(error, asyncio.TimeoutError) or any(hint in str(error) for hint in OFFLINE)


async def in_time(call, seconds=CALL):
    return await asyncio.wait_for(call, seconds)


class Wallet:
    """NIP-47's methods on the SDK."""

    def __init__(self, sdk_module, sdk, book, mouth, network):
        self.spark, self.sdk, self.book, self.mouth, self.network = sdk_module, sdk, book, mouth, network
        self.pubkey = ""
        # When the SDK last said that it has asked the operators for everything.
        self.synced_at = 0
        self.news = asyncio.Event()
        # Which payments are being sent: one task each, whoever waits for it.
        self.paying = {}

    # -- what the SDK says by itself

    async def on_event(self, event):
        try:
            self.hear(event)
        except Exception as error:
            log(f"an event was not understood: {type(error).__name__}")

    def hear(self, event):
        if event.is_synced():
            self.synced_at = now()
        payment = getattr(event, "payment", None)
        if payment is not None:
            self.absorb(payment)
        self.wake()

    def wake(self):
        """Wakes whoever waits for news."""
        self.news.set()
        self.news = asyncio.Event()

    def absorb(self, payment):
        """Puts what the SDK says of a Lightning payment into the book. Whether that was news."""
        details = payment.details
        if details is None or not details.is_lightning():
            return False
        spark, payment_hash = self.spark, details.htlc_details.payment_hash
        incoming = payment.payment_type == spark.PaymentType.RECEIVE
        way, preimage = ("incoming" if incoming else "outgoing"), details.htlc_details.preimage
        proven = proves(preimage, payment_hash)
        row = self.book.get(payment_hash, way)
        ours = row is not None and row["stage"] not in ("begun", "seen")
        stage = "open" if incoming else "sending" if ours else "seen"
        if payment.status == spark.PaymentStatus.COMPLETED and (incoming or proven):
            stage = "settled"
        elif payment.status == spark.PaymentStatus.FAILED and not incoming:
            stage = "failed"
        if row is None:
            self.book.put(
                hash=payment_hash, way=way, stage=stage, invoice=details.invoice,
                description=details.description or "", amount=int(payment.amount) * 1000,
                created=payment.timestamp, expires=payment.timestamp,
            )
        elif row["stage"] in (stage, "settled") or (row["stage"] == "failed" and stage != "settled"):
            return False
        values = {"stage": stage, "fee": int(payment.fees) * 1000}
        if stage == "settled":
            at = now() if row is not None else payment.timestamp
            values |= {"settled": at, "preimage": preimage if proven else None}
            if incoming:
                values["amount"] = int(payment.amount) * 1000
        elif stage == "failed":
            values["reason"] = "the payment came back"
        self.book.change(payment_hash, way, **values)
        if stage == "settled" and row is not None:
            self.tell(self.book.get(payment_hash, way))
        return True

    def words(self, row):
        return words(row, self.synced_at)

    def tell(self, row):
        kind = "payment_received" if row["way"] == "incoming" else "payment_sent"
        self.mouth.say({"notification_type": kind, "notification": self.words(row)})

    # -- asking the SDK

    async def catch_up(self):
        """Reads the SDK's payments, newest first, until a page holds no news."""
        offset = 0
        while True:
            request = self.spark.ListPaymentsRequest(
                type_filter=None, status_filter=None, asset_filter=None, payment_details_filter=None,
                from_timestamp=None, to_timestamp=None, offset=offset, limit=PAGE, sort_ascending=False,
            )
            page = (await in_time(self.sdk.list_payments(request))).payments
            news = [self.absorb(payment) for payment in page]
            if any(news):
                self.wake()
            if len(page) < PAGE or not any(news):
                return
            offset += PAGE

    async def ask_after(self, payment_hash):
        """Asks for a payment by us under the name it was sent by. Whether the SDK knows it."""
        try:
            request = self.spark.GetPaymentRequest(payment_id=key_of(payment_hash))
            payment = (await in_time(self.sdk.get_payment(request))).payment
        except (self.spark.SdkError, asyncio.TimeoutError):
            # It says the same of one it does not know and of a disk that fails, so neither is an answer.
            return False
        details = payment.details
        if details is None or not details.is_lightning() or details.htlc_details.payment_hash != payment_hash:
            return False
        self.absorb(payment)
        return True

    async def until_synced(self):
        """Waits until the operators were asked once since the start."""
        deadline = time.monotonic() + CALL
        while not self.synced_at:
            left = deadline - time.monotonic()
            if left <= 0:
                raise unknown("the Spark operators were not reached since the start; is there a network?")
            await self.news_within(left)

    async def news_within(self, seconds):
        try:
            await asyncio.wait_for(self.news.wait(), seconds)
        except asyncio.TimeoutError:
            pass

    async def balance_sats(self):
        return (await in_time(self.sdk.get_info(self.spark.GetInfoRequest(ensure_synced=False)))).balance_sats

    # -- methods

    async def get_info(self, _params):
        return self.info()

    def info(self):
        return {
            "alias": "Spark wallet (Breez SDK)",
            "pubkey": self.pubkey,
            "network": self.network,
            "methods": METHODS,
            "notifications": NOTIFICATIONS,
            "version": PINNED,
        }

    async def get_balance(self, _params):
        await self.until_synced()
        return {"balance": await self.balance_sats() * 1000}

    async def make_invoice(self, params):
        sats, description = whole_sats(params.get("amount")), params.get("description") or ""
        if params.get("description_hash"):
            raise Refusal("NOT_IMPLEMENTED", "the SDK makes no invoice for the hash of a description")
        expiry = params.get("expiry")
        method = self.spark.ReceivePaymentMethod.BOLT11_INVOICE(
            description=description, amount_sats=sats, expiry_secs=expiry if isinstance(expiry, int) else 3600,
            payment_hash=None, receiver_identity_public_key=None,
        )
        request = self.spark.ReceivePaymentRequest(payment_method=method)
        try:
            invoice = (await in_time(self.sdk.receive_payment(request))).payment_request
        except (self.spark.SdkError, asyncio.TimeoutError) as error:
            raise unknown(f"no invoice was made: {text_of(error)}") from None
        read = await self.parse(invoice)
        if read.amount_msat != sats * 1000:
            raise unknown("the SDK made an invoice for another amount; it was thrown away")
        # Nobody has seen the invoice before it is in the book.
        self.book.put(
            hash=read.payment_hash, way="incoming", stage="open", invoice=invoice, description=description,
            amount=sats * 1000, created=read.timestamp, expires=read.timestamp + read.expiry,
        )
        return self.words(self.book.get(read.payment_hash, "incoming"))

    async def parse(self, text):
        try:
            read = await in_time(self.sdk.parse(text))
        except self.spark.SdkError as error:
            raise failed(f"no invoice: {text_of(error)}") from None
        if not read.is_bolt11_invoice():
            raise failed("that is no BOLT11 invoice")
        return read[0]

    async def lookup_invoice(self, params):
        payment_hash = params.get("payment_hash")
        if not payment_hash and params.get("invoice"):
            payment_hash = (await self.parse(params["invoice"])).payment_hash
        incoming, outgoing = (self.book.get(payment_hash, way) for way in ("incoming", "outgoing"))
        if not any(row and is_over(row) for row in (incoming, outgoing)):
            if outgoing and payment_hash not in self.paying:
                await self.ask_after(payment_hash)
            await self.catch_up()
            incoming, outgoing = (self.book.get(payment_hash, way) for way in ("incoming", "outgoing"))
        if incoming and outgoing:
            return self.words(outgoing) | {"type": "incoming", "paid_by_us": True}
        if incoming or outgoing:
            return self.words(incoming or outgoing)
        # A book from an old backup knows less than the operators do.
        await self.until_synced()
        await self.catch_up()
        found = self.book.get(payment_hash, "incoming") or self.book.get(payment_hash, "outgoing")
        if found:
            return self.words(found)
        raise Refusal("NOT_FOUND", "no such invoice or payment")

    async def list_transactions(self, params):
        await self.until_synced()
        await self.catch_up()
        return {"transactions": [self.words(row) for row in self.book.page(params)]}

    # -- paying

    async def pay_invoice(self, params):
        """Answers when the payment is over. Asked again, it says how the payment stands and sends nothing new."""
        read = await self.parse(params.get("invoice") or "")
        payment_hash, limit = read.payment_hash, params.get("max_fee")
        row = self.book.get(payment_hash, "outgoing")
        if row is None or not is_over(row):
            if payment_hash not in self.paying:
                if row is None:
                    self.check(read)
                self.start_paying(payment_hash, read, limit if row is None else row["max_fee"])
            # Whoever stops waiting does not stop the payment.
            row = await asyncio.shield(self.paying[payment_hash])
        return self.outcome(row)

    def outcome(self, row):
        if row["stage"] == "settled":
            return {"preimage": row["preimage"], "fees_paid": row["fee"]}
        raise failed(row["reason"] or "the payment came back")

    def check(self, read):
        """Refuses what can never be paid from here."""
        name = {"mainnet": "BITCOIN", "regtest": "REGTEST"}[self.network]
        if read.network.name != name:
            raise failed("the invoice is of another network")
        if read.amount_msat is None:
            raise failed("the invoice names no amount")
        whole_sats(read.amount_msat)
        if read.timestamp + read.expiry <= now():
            raise failed("the invoice has expired")

    def start_paying(self, payment_hash, read, max_fee):
        task = asyncio.ensure_future(self.pay(payment_hash, read, max_fee))
        self.paying[payment_hash] = task

        def done(task):
            del self.paying[payment_hash]
            # Read, so that an error nobody waits for is not reported as lost.
            task.cancelled() or task.exception()

        task.add_done_callback(done)
        return task

    async def pay(self, payment_hash, read, max_fee):
        """From what was asked to how it ended: the row in the book."""
        row = self.book.get(payment_hash, "outgoing")
        first = row is None
        if first:
            self.book.put(
                hash=payment_hash, way="outgoing", stage="begun", invoice=read.invoice.bolt11,
                description=read.description or "", amount=read.amount_msat, max_fee=max_fee,
                created=now(), expires=read.timestamp + read.expiry,
            )
        elif await self.ask_after(payment_hash) or row["stage"] != "sending":
            return await self.until_over(payment_hash, None)
        elif row["expires"] <= now():
            raise unknown("whether it was sent is not known, and its invoice has expired; it is asked about")
        try:
            if first:
                # It may have been paid before the book was lost, or from this seed elsewhere.
                await self.catch_up()
            prepared = await self.prepare(read, max_fee) if self.may_send(payment_hash) else None
        except BaseException as error:
            if first:
                self.book.drop(payment_hash)
                raise
            raise unknown(f"a payment that may be under way was not sent again: {error}") from None
        if prepared is None or not self.may_send(payment_hash):
            return await self.until_over(payment_hash, None)
        self.book.change(payment_hash, "outgoing", stage="sending")
        return await self.until_over(payment_hash, self.send(payment_hash, prepared, first))

    def may_send(self, payment_hash):
        """Whether nothing was heard of it from elsewhere meanwhile."""
        return self.book.get(payment_hash, "outgoing")["stage"] in ("begun", "sending")

    async def prepare(self, read, max_fee):
        """What the payment would cost, if that is allowed and there. Sends nothing."""
        spark = self.spark
        request = spark.PrepareSendPaymentRequest(
            payment_request=spark.PaymentRequest.INPUT(input=read.invoice.bolt11), amount=None,
            token_identifier=None, conversion_options=None, fee_policy=None,
        )
        try:
            prepared = await in_time(self.sdk.prepare_send_payment(request))
            balance = await self.balance_sats()
        except spark.SdkError.InsufficientFunds:
            raise Refusal("INSUFFICIENT_BALANCE", "the wallet does not hold enough; nothing was sent") from None
        except (spark.SdkError, asyncio.TimeoutError) as error:
            code = "INTERNAL" if is_offline(error) else "PAYMENT_FAILED"
            raise Refusal(code, f"nothing was sent: {text_of(error)}") from None
        method = prepared.payment_method
        if not method.is_bolt11_invoice() or int(prepared.amount) * 1000 != read.amount_msat:
            raise failed("nothing was sent: the SDK would pay something else")
        fee, sats = method.lightning_fee_sats, int(prepared.amount)
        if isinstance(max_fee, int) and fee * 1000 > max_fee:
            raise failed(f"nothing was sent: it would cost {fee * 1000} msat, and {max_fee} are allowed")
        if self.synced_at and sats + fee > balance:
            what = f"{sats} sat and {fee} for the way, of {balance}; nothing was sent"
            raise Refusal("INSUFFICIENT_BALANCE", what)
        return prepared

    async def send(self, payment_hash, prepared, first):
        """Tells the SDK to send. Whether that is known to have been done; refused only if nothing can have been."""
        spark = self.spark
        request = spark.SendPaymentRequest(
            prepare_response=prepared,
            # Over Spark itself there would be no preimage, so no proof: Lightning, whatever is cheaper.
            options=spark.SendPaymentOptions.BOLT11_INVOICE(prefer_spark=False, completion_timeout_secs=None),
            idempotency_key=key_of(payment_hash),
        )
        try:
            self.absorb((await self.sdk.send_payment(request)).payment)
            return True
        except spark.SdkError.InsufficientFunds:
            # On a second try the first may be what the money went for.
            if first:
                self.book.drop(payment_hash)
                raise Refusal("INSUFFICIENT_BALANCE", "the wallet does not hold enough; nothing was sent") from None
        except Exception as error:
            log(f"whether a payment was sent is unknown: {text_of(error)}")
        return False

    async def until_over(self, payment_hash, sending):
        """Waits for the end of a payment, however long it takes. One that the SDK does not know is left in doubt."""
        sending = sending and asyncio.ensure_future(sending)
        while True:
            if sending is not None and sending.done():
                if not sending.result() and not await self.ask_after(payment_hash):
                    raise unknown("whether it was sent is not known yet; look it up before anything else")
                sending = None
            row = self.book.get(payment_hash, "outgoing")
            if is_over(row):
                return row
            waits = {asyncio.ensure_future(self.news.wait())} | ({sending} if sending is not None else set())
            finished, open_still = await asyncio.wait(waits, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
            for wait in open_still - {sending}:
                wait.cancel()
            if not finished:
                await self.ask_after(payment_hash)

    # -- doubts

    async def tend(self):
        """Asks about payments whose end is not known, at the start and again and again."""
        # After a quick restart the SDK thinks that it has asked lately; this makes it ask.
        asyncio.ensure_future(self.sdk.sync_wallet(self.spark.SyncWalletRequest())).add_done_callback(
            lambda task: task.cancelled() or task.exception()
        )
        while not self.synced_at:
            await self.news_within(LOOK)
        while True:
            try:
                await self.catch_up()
                await self.settle_doubts()
            except Exception as error:
                log(f"doubtful payments are asked about later: {text_of(error)}")
            await asyncio.sleep(LOOK)

    async def settle_doubts(self):
        for row in self.book.doubtful():
            payment_hash = row["hash"]
            if payment_hash in self.paying or await self.ask_after(payment_hash):
                continue
            if row["expires"] > now():
                # Under its old name: if it was sent after all, nothing moves.
                self.start_paying(payment_hash, await self.parse(row["invoice"]), row["max_fee"])
            elif self.synced_at > row["expires"] + GRACE:
                reason = "it was never sent, and its invoice has expired"
                self.book.change(payment_hash, "outgoing", stage="failed", reason=reason)

    # -- requests

    async def execute(self, request):
        """Answers one request, whatever it is."""
        number, method, params = request.get("id"), request.get("method"), request.get("params")
        try:
            if method not in METHODS:
                raise Refusal("NOT_IMPLEMENTED", WHY_NOT.get(method, f"this wallet has no {method}"))
            result = await getattr(self, method)(params if isinstance(params, dict) else {})
            self.mouth.answer(number, method, result)
        except Refusal as refusal:
            self.mouth.answer(number, method, error=refusal)
        except asyncio.TimeoutError:
            self.mouth.answer(number, method, error=unknown("the SDK did not answer in time"))
        except Exception as error:
            log(f"{method} went wrong: {type(error).__name__}: {text_of(error)}")
            self.mouth.answer(number, method, error=unknown(text_of(error)))


CANNOT_CANCEL = "the SDK can lock a payment but not give it back before it runs out, so none is locked"
WHY_NOT = {name: CANNOT_CANCEL for name in ("make_hold_invoice", "settle_hold_invoice", "cancel_hold_invoice")}


# ----------------------------------------------------------------------------------------------- running


def log(text):
    print(text, file=sys.stderr, flush=True)


def load_sdk():
    """The SDK, in the one version that this program was written for."""
    try:
        version = importlib.metadata.version(PACKAGE)
        import breez_sdk_spark
    except Exception as error:
        raise Fatal("NO_SDK", f"the Breez SDK cannot be loaded ({error}); {INSTALL}") from None
    if version != PINNED:
        raise Fatal("VERSION", f"the Breez SDK is {version}, not {PINNED}; {INSTALL}")
    return breez_sdk_spark


def take(storage):
    """Locks the storage for this process; the system gives it back when the process ends."""
    os.makedirs(storage, mode=0o700, exist_ok=True)
    lock = open(os.path.join(storage, "lock"), "a")
    for _ in range(30):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            time.sleep(0.1)
    raise Fatal("IN_USE", f"another program uses {storage}")


def open_book(storage, network):
    try:
        book = Book(os.path.join(storage, "book.db"))
    except sqlite3.Error as error:
        raise Fatal("STORAGE", f"{storage} cannot be used: {error}") from None
    was = book.belongs("network", network)
    if was != network:
        raise Fatal("NETWORK", f"{storage} holds a wallet on {was}, not on {network}")
    return book


def start_logging(spark, level):
    class Logger(spark.Logger):
        def log(self, entry):
            print(f"{entry.level} {entry.line}", file=sys.stderr, flush=True)

    spark.init_logging(None, Logger(), level)


async def connect(spark, setup, network):
    config = spark.default_config({"mainnet": spark.Network.MAINNET, "regtest": spark.Network.REGTEST}[network])
    config.api_key = setup.get("api_key") or None
    # Set apart from the default, which the SDK may change: see `send`.
    config.prefer_spark_over_lightning = False
    passphrase = setup.get("seed_passphrase") or None
    seed = spark.Seed.MNEMONIC(mnemonic=setup.get("seed") or "", passphrase=passphrase)
    directory = os.path.join(setup["storage"], "sdk")
    try:
        return await spark.connect(spark.ConnectRequest(config=config, seed=seed, storage_dir=directory))
    except spark.SdkError as error:
        text = text_of(error)
        code = "SEED" if "mnemonic" in text else "API_KEY" if "API key" in text else "CONNECT"
        raise Fatal(code, f"the Breez SDK does not start: {text}") from None


async def open_wallet(setup, mouth):
    network, storage = setup.get("network"), setup.get("storage")
    if network not in ("mainnet", "regtest") or not storage:
        raise Fatal("SETUP", "a network (mainnet or regtest) and a storage folder are needed")
    spark, _lock = load_sdk(), take(storage)
    book = open_book(storage, network)
    if setup.get("log"):
        start_logging(spark, setup["log"])
    wallet = Wallet(spark, await connect(spark, setup, network), book, mouth, network)
    wallet.lock = _lock
    wallet.pubkey = (await in_time(wallet.sdk.get_info(spark.GetInfoRequest(ensure_synced=False)))).identity_pubkey
    if book.belongs("identity", wallet.pubkey) != wallet.pubkey:
        raise Fatal("SEED", f"{storage} holds the wallet of another seed")

    class Listener(spark.EventListener):
        async def on_event(self, event):
            await wallet.on_event(event)

    await wallet.sdk.add_event_listener(Listener())
    return wallet


async def run(mouth):
    try:
        wallet = await open_wallet(first_line(), mouth)
    except Fatal as fatal:
        mouth.say({"fatal": {"code": fatal.code, "message": fatal.message}})
        return 1
    mouth.say({"ready": wallet.info()})
    queue, tasks = asyncio.Queue(), {asyncio.ensure_future(wallet.tend())}
    lines_into(asyncio.get_running_loop(), queue)
    while (line := await queue.get()) is not None:
        try:
            request = json.loads(line)
        except ValueError:
            log("a line that is no JSON was passed over")
            continue
        if isinstance(request, dict):
            task = asyncio.ensure_future(wallet.execute(request))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    try:
        await asyncio.wait_for(wallet.sdk.disconnect(), FAREWELL)
    except Exception as error:
        log(f"the SDK did not end in order: {text_of(error)}")
    return 0


def main():
    # What is written is for its owner alone.
    os.umask(0o077)
    mouth = Mouth()
    try:
        code = asyncio.run(run(mouth))
    except Exception as error:
        mouth.say({"fatal": {"code": "INTERNAL", "message": f"{type(error).__name__}: {text_of(error)}"}})
        code = 1
    sys.stderr.flush()
    # Threads of the SDK do not hold the process back.
    os._exit(code)


if __name__ == "__main__":
    main()
