"""Compares the imitation with the SDK itself, which the Python that runs this has: the same names, arguments and
attributes, wherever the imitation has them. Prints what differs."""

import enum
import importlib.util
import inspect
import os

import breez_sdk_spark as real

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "breez_sdk_spark.py")
spec = importlib.util.spec_from_file_location("imitation", path)
fake = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fake)


def arguments(made):
    return tuple(inspect.signature(made.__init__).parameters)[1:]


def differences():
    records = {name: made for name, made in vars(fake).items() if hasattr(made, "FIELDS")}
    for family in ("Seed", "PaymentRequest", "SendPaymentOptions", "ReceivePaymentMethod"):
        records |= {made.__name__: made for made in vars(getattr(fake, family)).values()}
    for name, made in records.items():
        theirs = real
        for part in name.split("."):
            theirs = getattr(theirs, part)
        found = arguments(theirs)
        # Python's `self` may have any name; a record without fields takes what `object` takes.
        if made.FIELDS and found != made.FIELDS:
            yield f"{name}: {found} are taken, not {made.FIELDS}"
    for name, made in vars(fake).items():
        if inspect.isclass(made) and issubclass(made, enum.Enum) and made.__module__ == "imitation":
            missing = set(made.__members__) - set(getattr(real, name).__members__)
            if missing:
                yield f"{name}: no {missing}"
    for name, made in vars(fake.SdkError).items():
        if inspect.isclass(made) and not issubclass(getattr(real.SdkError, name), Exception):
            yield f"SdkError.{name}"
    for name, made in vars(fake.BreezSdk).items():
        if inspect.iscoroutinefunction(made) and name not in ("ask", "look"):
            theirs, ours = (tuple(inspect.signature(f).parameters)[1:] for f in (getattr(real.BreezSdk, name), made))
            if theirs != ours:
                yield f"BreezSdk.{name}{theirs}, not {ours}"
    used = {
        real.Payment: ("id", "payment_type", "status", "amount", "fees", "timestamp", "details"),
        real.SparkHtlcDetails: ("payment_hash", "preimage"),
        real.PaymentDetails.LIGHTNING: ("invoice", "description", "htlc_details"),
        real.PrepareSendPaymentResponse: ("payment_method", "amount"),
        real.SendPaymentMethod.BOLT11_INVOICE: ("lightning_fee_sats",),
        real.ReceivePaymentResponse: ("payment_request",),
        real.GetInfoResponse: ("identity_pubkey", "balance_sats"),
        real.SdkEvent.PAYMENT_SUCCEEDED: ("payment",),
        real.Bolt11InvoiceDetails: (
            "amount_msat", "description", "expiry", "invoice", "network", "payment_hash", "timestamp",
        ),
    }
    for made, names in used.items():
        missing = set(names) - set(arguments(made))
        if missing:
            yield f"{made.__name__}: no {missing}"
    for made, names in {
        real.SdkEvent: ["is_synced"], real.PaymentDetails: ["is_lightning"], real.InputType: ["is_bolt11_invoice"],
        real.SendPaymentMethod: ["is_bolt11_invoice"],
    }.items():
        yield from (f"{made.__name__}: no {name}" for name in names if not hasattr(made, name))


found = list(differences())
print("\n".join(found) or "the same")
raise SystemExit(bool(found))
