"""The link between a ship and the mux as two state machines without I/O: `ShipEnd` and `MuxEnd`.

Owns order (Challenge, Hello, Welcome or Refused, then Desired and Observed in any number), deadlines, the count of bad
messages and what is still to be sent. Knows nothing of sockets, TLS, clocks, keys or what the messages mean.

A shell hands over what arrives (`receive`), the time (`handle_timer`, when `next_deadline` has come) and its own
wishes, acts on the events that come back, then sends what `messages_to_send` gives. ``now`` is monotonic, in seconds.

Rules:
- The greetings settle the version: the newest that both sides speak.
- A message that cannot be read or is not due is answered with `ProtocolError`, counted, and changes nothing. The
  BAD_MESSAGES_MAX-th ends the link. A `ProtocolError` is never answered, but counted in the same way.
- A message of an unknown type is passed over, neither answered nor counted, once the link stands.
- No input raises. After `Closed` nothing is accepted and nothing new is sent.
- Only the newest unsent `RegistryLogins`, `Desired` and `Observed` are kept: each is a whole.
- A `Desired` of an older generation than one that came before it on the same link is dropped: a generation means one
  thing, and what the older one has workspaces for may be gone, or somebody's files. A new link starts anew, since a mux
  that was restored from a backup goes on from an older one.
- A ship reports at least every ``heartbeat_s`` after its last report (`ReportDue`). Whether a silent ship counts as
  unreachable is for the core to say. A dead connection is found by WebSocket pings (RFC 6455 section 5.5.2), which both
  shells send: they need no message, and work while neither side has anything to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from ship_agent.protocol.codec import CodecError, decode_from_mux, decode_from_ship, encode
from ship_agent.protocol.messages import (
    PROTOCOL_OLDEST,
    PROTOCOL_VERSION,
    Challenge,
    Desired,
    Hello,
    Message,
    Observed,
    ProtocolError,
    Refused,
    RegistryLogins,
    Welcome,
    common_version,
    hello_payload,
)

HANDSHAKE_S = 10.0
"""How long a side waits for the other's greeting: a slow network needs two seconds, an idle stranger gets no more."""
DECISION_S = 20.0
"""How long a ship that has said Hello waits for the mux's decision, which takes one transaction."""
BAD_MESSAGES_MAX = 20
"""Bad messages after which two sides that do not understand each other stop talking."""
HELLO_BYTES_MAX = 4096
"""Bound of a message of somebody who has not been accepted: a Hello has about 600 bytes."""
RATE_PER_S = 20.0
"""Messages a second that one ship may keep up: twice what an agent sends at most."""
RATE_BURST = 100
"""Messages that may come at once after a stall of the network."""
RATE_BYTES = 64 * 1024
"""A message counts once more for each such piece of it: a full ship's report has one or two, and no ship has the mux
read more than about a megabyte a second."""


class State(Enum):
    """Where an end is. Forward only, and the only ways are those of `_WAYS`."""

    GREETING = "greeting"
    DECIDING = "deciding"
    LINKED = "linked"
    CLOSED = "closed"


_WAYS = {
    State.GREETING: {State.DECIDING, State.CLOSED},
    State.DECIDING: {State.LINKED, State.CLOSED},
    State.LINKED: {State.CLOSED},
    State.CLOSED: set[State](),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """What a ship says of itself in its Hello; the fields are those of `Hello`."""

    ship: str
    boot: str
    public_key: str
    join_token: str = field(repr=False)
    runtime: str
    agent_version: str


# --- events ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Welcomed:
    """Ship's end: the mux has accepted the link. ``files_token`` is good at its file endpoint meanwhile."""

    heartbeat_s: float
    files_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class WasRefused:
    """Ship's end: no link. ``retry``: whether dialing again can help. `Closed` follows."""

    code: str
    reason: str
    retry: bool


@dataclass(frozen=True, slots=True)
class DesiredReceived:
    """Ship's end: what should be true."""

    desired: Desired


@dataclass(frozen=True, slots=True)
class LoginsReceived:
    """Ship's end: how to pull from registries; instead of what was said before."""

    logins: RegistryLogins


@dataclass(frozen=True, slots=True)
class ReportDue:
    """Ship's end: a heartbeat has passed since the last report; call `ShipEnd.report` soon."""


@dataclass(frozen=True, slots=True)
class Dialed:
    """Mux's end: a ship proved that it holds its key; answer with `MuxEnd.accept` or `MuxEnd.refuse`."""

    hello: Hello


@dataclass(frozen=True, slots=True)
class Reported:
    """Mux's end: what is so on the ship."""

    observed: Observed


@dataclass(frozen=True, slots=True)
class BadMessage:
    """Either end: something arrived that could not be read or was not due. It was answered and counted."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Either end: a message came of a type that this side does not know. The other side is newer; nothing follows."""

    detail: str


@dataclass(frozen=True, slots=True)
class PeerComplained:
    """Either end: the other side could not read what was sent. ``detail`` is its text, bounded and hostile."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Closed:
    """Either end, once and last: send what is left, then close the connection."""

    code: str
    reason: str


Event = (
    Welcomed
    | WasRefused
    | DesiredReceived
    | LoginsReceived
    | ReportDue
    | Dialed
    | Reported
    | BadMessage
    | PassedOver
    | PeerComplained
    | Closed
)


class _NotDueError(Exception):
    """A message that parses, at the wrong time."""


class _End:
    """What both ends share: state, deadline, the count of bad messages, what is to be sent."""

    def __init__(self, now: float) -> None:
        self.state = State.GREETING
        self.version = PROTOCOL_VERSION
        self._bad = 0
        # Bounded: each bad message adds one and there are at most BAD_MESSAGES_MAX; greetings come once each.
        self._outbox: list[Message] = []
        self._deadline: float | None = now + HANDSHAKE_S

    def next_deadline(self) -> float | None:
        """When `handle_timer` is to be called at the latest; None when nothing is timed."""
        return self._deadline

    def messages_to_send(self) -> list[str]:
        """Text frames to send now, in order; each is given out once."""
        outbox, self._outbox = self._outbox, []
        return [encode(message) for message in outbox]

    def _enter(self, state: State) -> None:
        if state not in _WAYS[self.state]:
            raise AssertionError(f"link cannot go from {self.state.value} to {state.value}")
        self.state = state

    def _close(self, code: str, reason: str) -> list[Event]:
        self._enter(State.CLOSED)
        self._deadline = None
        return [Closed(code, reason)]

    def _unread(self, error: CodecError) -> list[Event]:
        if error.code == "unknown" and self.state is State.LINKED:
            return [PassedOver(error.detail)]
        return self._complain(error.code, error.detail)

    def _complain(self, code: str, detail: str) -> list[Event]:
        self._outbox.append(ProtocolError(code=code, detail=detail))
        return [BadMessage(code, detail), *self._count_bad()]

    def _complained(self, message: ProtocolError) -> list[Event]:
        return [PeerComplained(message.code, message.detail), *self._count_bad()]

    def _count_bad(self) -> list[Event]:
        self._bad += 1
        return self._close("bad_messages", "too many bad messages") if self._bad >= BAD_MESSAGES_MAX else []


class ShipEnd(_End):
    """The ship's end of one connection.

    Args:
        identity: what goes into the Hello.
        sign: the agent key's Ed25519 signature (RFC 8032) over some bytes.
        server_certificate_sha256: of the leaf certificate that this connection's server showed, 64 hex digits.
        now: seconds.
    """

    def __init__(
        self, identity: Identity, sign: Callable[[bytes], bytes], server_certificate_sha256: str, now: float
    ) -> None:
        super().__init__(now)
        self._identity = identity
        self._sign = sign
        self._server_certificate_sha256 = server_certificate_sha256
        self._heartbeat_s = 0.0
        self._report: Observed | None = None
        self._seq = 0
        self._generation = 0

    def receive(self, frame: str | bytes, now: float) -> list[Event]:
        """What arrived; ``bytes`` stand for a binary frame."""
        if self.state is State.CLOSED:
            return []
        try:
            return self._receive(frame, now)
        except CodecError as error:
            if error.code == "version" and self.state is State.GREETING:
                return self._close("version", error.detail)
            return self._unread(error)
        except _NotDueError as error:
            return self._complain("not_due", str(error))

    def report(self, observed: Observed, now: float) -> None:
        """Send a report. ``seq`` is set here. Ignored unless linked; replaces a report that is still unsent."""
        if self.state is State.LINKED:
            self._report = observed
            self._deadline = now + self._heartbeat_s

    def handle_timer(self, now: float) -> list[Event]:
        """The time has come on; events that are due by ``now``."""
        if self._deadline is None or now < self._deadline:
            return []
        if self.state is not State.LINKED:
            return self._close("handshake_timeout", "the mux did not answer in time")
        self._deadline = now + self._heartbeat_s
        return [ReportDue()]

    def messages_to_send(self) -> list[str]:
        """As in the base; the newest report last. A report too large to send is dropped for one without log tails."""
        frames = super().messages_to_send()
        if self._report is not None and self.state is State.LINKED:
            self._seq += 1
            report, self._report = self._report.model_copy(update={"seq": self._seq}), None
            try:
                frames.append(encode(report))
            except CodecError:
                bare = [each.model_copy(update={"log_tail": ""}) for each in report.workspaces]
                frames.append(encode(report.model_copy(update={"workspaces": bare})))
        return frames

    def _receive(self, frame: str | bytes, now: float) -> list[Event]:
        message = decode_from_mux(frame)
        match message, self.state:
            case ProtocolError(), _:
                return self._complained(message)
            case Refused(), State.GREETING | State.DECIDING:
                return [
                    WasRefused(message.code, message.reason, message.retry),
                    *self._close("refused", message.reason),
                ]
            case Challenge(), State.GREETING:
                version = common_version(message.version, message.oldest)
                if version is None:
                    return self._close("version", f"the mux speaks version {message.version}")
                self.version = version
                self._enter(State.DECIDING)
                # A little longer than the mux takes for itself, so that its reason arrives rather than our timeout.
                self._deadline = now + DECISION_S + HANDSHAKE_S
                self._outbox.append(self._hello(message.nonce))
                return []
            case Welcome(), State.DECIDING:
                self._enter(State.LINKED)
                self._heartbeat_s = message.heartbeat_s
                self._deadline = now
                return [Welcomed(message.heartbeat_s, message.files_token)]
            case Desired(), State.LINKED:
                if message.generation < self._generation:
                    return []
                self._generation = message.generation
                return [DesiredReceived(message)]
            case RegistryLogins(), State.LINKED:
                return [LoginsReceived(message)]
            case _:
                raise _NotDueError(f"{message.type} is not due")

    def _hello(self, nonce: str) -> Hello:
        who = self._identity
        payload = hello_payload(
            nonce=nonce,
            server_certificate_sha256=self._server_certificate_sha256,
            ship=who.ship,
            boot=who.boot,
            join_token=who.join_token,
        )
        return Hello(
            version=self.version,
            ship=who.ship,
            boot=who.boot,
            public_key=who.public_key,
            join_token=who.join_token,
            signature=self._sign(payload).hex(),
            agent_version=who.agent_version,
            runtime=who.runtime,
        )


class MuxEnd(_End):
    """The mux's end of one connection.

    Args:
        nonce: 64 hex digits, fresh and unpredictable for each connection.
        heartbeat_s: how often the ship is to report.
        server_certificate_sha256: of the mux's own leaf certificate, 64 hex digits.
        verify: whether (public key, payload, signature) is a valid Ed25519 signature (RFC 8032).
        now: seconds.
    """

    def __init__(
        self,
        nonce: str,
        heartbeat_s: float,
        server_certificate_sha256: str,
        verify: Callable[[bytes, bytes, bytes], bool],
        now: float,
    ) -> None:
        super().__init__(now)
        self._nonce = nonce
        self._heartbeat_s = heartbeat_s
        self._server_certificate_sha256 = server_certificate_sha256
        self._verify = verify
        self._desired = ""
        self._logins = ""
        self._allowance = float(RATE_BURST)
        self._allowance_at = now
        self._outbox.append(Challenge(nonce=nonce))

    def receive(self, frame: str | bytes, now: float) -> list[Event]:
        """What arrived; ``bytes`` stand for a binary frame."""
        if self.state is State.CLOSED:
            return []
        self.count(len(frame), now)
        try:
            return self._receive(frame, now)
        except CodecError as error:
            if error.code == "version" and self.state is State.GREETING:
                return self.refuse("version", error.detail, retry=True)
            return self._unread(error)
        except _NotDueError as error:
            return self._complain("not_due", str(error))

    def count(self, size: int, now: float) -> None:
        """Something of that many bytes was read; for what is no message, such as a ping."""
        gained = (now - self._allowance_at) * RATE_PER_S
        self._allowance = min(RATE_BURST, self._allowance + gained) - 1 - size // RATE_BYTES
        self._allowance_at = now

    def pause_s(self) -> float:
        """How long to leave the connection unread, in seconds: 0 for a ship that keeps to RATE_PER_S and RATE_BYTES.

        Not reading pushes back on the sender and loses nothing, while dropping could lose a last report.
        """
        return max(0.0, -self._allowance / RATE_PER_S)

    def accept(self, files_token: str = "") -> None:
        """The ship that dialed is welcome. Ignored unless a decision is due.

        Args:
            files_token: what it shows at the file endpoint while this link lasts; empty for none.
        """
        if self.state is State.DECIDING:
            self._enter(State.LINKED)
            self._deadline = None
            self._outbox.append(Welcome(heartbeat_s=self._heartbeat_s, files_token=files_token))

    def refuse(self, code: str, reason: str, *, retry: bool) -> list[Event]:
        """No link for the one that dialed. Ignored unless a greeting or a decision is due."""
        if self.state not in (State.GREETING, State.DECIDING):
            return []
        self._outbox.append(Refused(code=code, reason=reason, retry=retry))
        return self._close("refused", f"refused: {code}")

    def close(self, code: str, reason: str) -> list[Event]:
        """End the link, whatever its state."""
        return [] if self.state is State.CLOSED else self._close(code, reason)

    def send_desired(self, desired: Desired) -> None:
        """Say what should be true. Ignored unless linked; replaces one that is still unsent.

        Raises CodecError when it is too large to be sent; the link goes on.
        """
        if self.state is State.LINKED:
            self._desired = encode(desired)

    def send_logins(self, logins: RegistryLogins) -> None:
        """Say how to pull from registries. Ignored unless linked; replaces what is still unsent, goes before desired.

        Raises CodecError when it is too large to be sent; the link goes on.
        """
        if self.state is State.LINKED:
            self._logins = encode(logins)

    def handle_timer(self, now: float) -> list[Event]:
        """The time has come on; events that are due by ``now``."""
        if self._deadline is None or now < self._deadline:
            return []
        if self.state is State.GREETING:
            return self.refuse("handshake_timeout", "no Hello in time; dial again", retry=True)
        return self.refuse("busy", "the mux could not decide in time; dial again", retry=True)

    def messages_to_send(self) -> list[str]:
        """As in the base; the newest logins, and the newest desired last."""
        frames = super().messages_to_send()
        if self.state is State.LINKED:
            frames += [frame for frame in (self._logins, self._desired) if frame]
            self._logins = self._desired = ""
        return frames

    def _receive(self, frame: str | bytes, now: float) -> list[Event]:
        if self.state is not State.LINKED and len(frame) > HELLO_BYTES_MAX:
            raise CodecError("too_large", f"more than {HELLO_BYTES_MAX} bytes before the welcome")
        message = decode_from_ship(frame)
        match message, self.state:
            case ProtocolError(), _:
                return self._complained(message)
            case Hello(), State.GREETING:
                return self._dialed(message, now)
            case Observed(), State.LINKED:
                return [Reported(message)]
            case _:
                raise _NotDueError(f"{message.type} is not due")

    def _dialed(self, hello: Hello, now: float) -> list[Event]:
        if not PROTOCOL_OLDEST <= hello.version <= PROTOCOL_VERSION:
            # Retry: a mux is exchanged under its ships, and its next version may speak theirs again.
            return self.refuse("version", f"this mux speaks version {PROTOCOL_VERSION}", retry=True)
        self.version = hello.version
        payload = hello_payload(
            nonce=self._nonce,
            server_certificate_sha256=self._server_certificate_sha256,
            ship=hello.ship,
            boot=hello.boot,
            join_token=hello.join_token,
        )
        if not self._verify(bytes.fromhex(hello.public_key), payload, bytes.fromhex(hello.signature)):
            # Retry: an honest ship behind somebody who relays its connection may have a clear way later.
            return self.refuse("bad_signature", "the Hello is not signed for this connection", retry=True)
        self._enter(State.DECIDING)
        self._deadline = now + DECISION_S
        return [Dialed(hello)]
