"""An imitation of the Breez SDK for tests: the types that the Spark wallet's program uses, over a network that the
test keeps behind a Unix socket beside the storage folder. The network outlives this process, as the real one does.

Each call is one JSON line there and one back: `ok`, an `error` to raise, `die`, or nothing at all.
"""

import asyncio
import enum
import hashlib
import json
import os
import signal
from types import SimpleNamespace as Bag


def record(name, *fields):
    """A class that takes these arguments by name, all of them, as the SDK's do."""

    def init(self, **values):
        if set(values) != set(fields):
            raise TypeError(f"{name} takes {fields}, not {sorted(values)}")
        self.__dict__.update(values)

    return type(name, (), {"__init__": init, "FIELDS": fields})


class Network(enum.Enum):
    MAINNET = 0
    REGTEST = 1


class BitcoinNetwork(enum.Enum):
    BITCOIN = 0
    REGTEST = 4


class PaymentType(enum.Enum):
    SEND = 0
    RECEIVE = 1


class PaymentStatus(enum.Enum):
    COMPLETED = 0
    PENDING = 1
    FAILED = 2


class SdkError(Exception):
    pass


for kind in ("SparkError", "InsufficientFunds", "StorageError", "NetworkError", "Generic"):
    setattr(SdkError, kind, type(kind, (SdkError,), {}))


class EventListener:
    pass


class Logger:
    pass


ConnectRequest = record("ConnectRequest", "config", "seed", "storage_dir")
GetInfoRequest = record("GetInfoRequest", "ensure_synced")
GetPaymentRequest = record("GetPaymentRequest", "payment_id")
SyncWalletRequest = record("SyncWalletRequest")
ListPaymentsRequest = record(
    "ListPaymentsRequest", "type_filter", "status_filter", "asset_filter", "payment_details_filter",
    "from_timestamp", "to_timestamp", "offset", "limit", "sort_ascending",
)
PrepareSendPaymentRequest = record(
    "PrepareSendPaymentRequest", "payment_request", "amount", "token_identifier", "conversion_options", "fee_policy"
)
SendPaymentRequest = record("SendPaymentRequest", "prepare_response", "options", "idempotency_key")
ReceivePaymentRequest = record("ReceivePaymentRequest", "payment_method")
Seed = Bag(MNEMONIC=record("Seed.MNEMONIC", "mnemonic", "passphrase"))
PaymentRequest = Bag(INPUT=record("PaymentRequest.INPUT", "input"))
SendPaymentOptions = Bag(
    BOLT11_INVOICE=record("SendPaymentOptions.BOLT11_INVOICE", "prefer_spark", "completion_timeout_secs")
)
ReceivePaymentMethod = Bag(
    BOLT11_INVOICE=record(
        "ReceivePaymentMethod.BOLT11_INVOICE", "description", "amount_sats", "expiry_secs", "payment_hash",
        "receiver_identity_public_key",
    )
)


class ParsedInvoice:
    def __init__(self, details):
        self.details = details

    def is_bolt11_invoice(self):
        return True

    def __getitem__(self, _index):
        return self.details


class Event:
    def __init__(self, payment=None):
        if payment is not None:
            self.payment = payment

    def is_synced(self):
        return not hasattr(self, "payment")


def default_config(network):
    return Bag(network=network, api_key=None, prefer_spark_over_lightning=False)


def init_logging(log_dir, app_logger, log_filter):
    pass


def payment_of(row):
    htlc = Bag(payment_hash=row["hash"], preimage=row["preimage"])
    details = Bag(
        is_lightning=lambda: True, invoice=row["invoice"], description=row["description"], htlc_details=htlc
    )
    return Bag(
        id=row["id"], payment_type=PaymentType[row["type"]], status=PaymentStatus[row["status"]],
        amount=row["sats"], fees=row["fees"], timestamp=row["timestamp"], details=details,
    )


async def connect(request):
    words = request.seed.mnemonic.split()
    if len(words) not in (12, 24):
        raise SdkError.Generic(f"mnemonic has an invalid word count: {len(words)}")
    if request.config.network == Network.MAINNET and not request.config.api_key:
        raise SdkError.Generic("Missing Breez API key")
    os.makedirs(request.storage_dir, exist_ok=True)
    seed = request.seed.mnemonic + (request.seed.passphrase or "")
    return BreezSdk(os.path.dirname(request.storage_dir), hashlib.sha256(seed.encode()).hexdigest())


class BreezSdk:
    def __init__(self, storage, pubkey):
        self.socket = os.path.join(os.path.dirname(storage), "network.sock")
        self.account, self.pubkey = os.path.basename(storage), pubkey
        self.listener, self.known, self.watch = None, {}, None

    async def ask(self, method, **params):
        reader, writer = await asyncio.open_unix_connection(self.socket)
        try:
            request = {"account": self.account, "method": method, "params": params}
            writer.write(json.dumps(request).encode() + b"\n")
            await writer.drain()
            answer = json.loads(await reader.readline())
        finally:
            writer.close()
        if answer.get("noise"):
            print("a library says something")
            os.write(1, b'{"id":1,"result_type":"get_balance","result":{"balance":999999000}}\n')
        if answer.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if "error" in answer:
            raise getattr(SdkError, answer["error"])(answer["text"])
        return answer["ok"]

    async def add_event_listener(self, listener):
        self.listener, self.watch = listener, asyncio.ensure_future(self.look())
        return "listener"

    async def look(self):
        """Tells of what changed, and of having asked."""
        while True:
            try:
                rows = await self.ask("list", offset=0, limit=100)
                for row in rows:
                    if self.known.get((row["id"], row["type"])) != row["status"]:
                        self.known[row["id"], row["type"]] = row["status"]
                        await self.listener.on_event(Event(payment_of(row)))
                await self.listener.on_event(Event())
            except SdkError:
                pass
            await asyncio.sleep(0.05)

    async def disconnect(self):
        self.watch.cancel()

    async def sync_wallet(self, request):
        # As the real one: no word of it if nobody was reached.
        return None

    async def get_info(self, request):
        return Bag(identity_pubkey=self.pubkey, balance_sats=await self.ask("balance"))

    async def parse(self, input):
        read = await self.ask("parse", text=input)
        network = BitcoinNetwork[read.pop("network")]
        return ParsedInvoice(Bag(invoice=Bag(bolt11=input), network=network, **read))

    async def receive_payment(self, request):
        method = request.payment_method
        invoice = await self.ask(
            "receive", sats=method.amount_sats, description=method.description, expiry=method.expiry_secs
        )
        return Bag(payment_request=invoice)

    async def prepare_send_payment(self, request):
        text = request.payment_request.input
        prepared = await self.ask("prepare", text=text)
        method = Bag(is_bolt11_invoice=lambda: True, lightning_fee_sats=prepared["fee"])
        return Bag(payment_method=method, amount=prepared["sats"], text=text)

    async def send_payment(self, request):
        if request.options.prefer_spark:
            raise SdkError.Generic("over Spark there is no preimage")
        row = await self.ask("send", text=request.prepare_response.text, key=request.idempotency_key)
        return Bag(payment=payment_of(row))

    async def get_payment(self, request):
        return Bag(payment=payment_of(await self.ask("payment", key=request.payment_id)))

    async def list_payments(self, request):
        rows = await self.ask("list", offset=request.offset, limit=request.limit)
        return Bag(payments=[payment_of(row) for row in rows])
