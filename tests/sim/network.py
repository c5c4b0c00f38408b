"""Links between simulated agents and the simulated mux: the real `ShipEnd` and `MuxEnd`, and a network that misbehaves.

A frame may be lost, doubled, late, and overtaken by later ones: more than TCP allows, so that nothing rests on it. A
partition holds frames back; one that outlasts the pings ends the link on both sides, each at its own time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from mux.core.model import LinkId
from ship_agent.protocol import link as protocol
from ship_agent.protocol.link import Identity, MuxEnd, ShipEnd
from ship_agent.protocol.messages import Desired
from tests.sim.agent import SimAgent
from tests.sim.clock import Dice, Timeline

CERTIFICATE = sha256(b"the listener's certificate").hexdigest()
PING_DEAD_S = (20.0, 30.0)
"""A dead connection is noticed after so long: pings of 20 s, answered within 10 s."""
FRAME_S = (0.002, 0.04)
LATE_S = 6.0
REPORT_SPACING_S = 0.1


def sign(key: str) -> Callable[[bytes], bytes]:
    """A signature in name only: who knows the public key can make it. The links' own tests use Ed25519."""
    return lambda payload: sha256(key.encode() + payload).digest() * 2


def signature_ok(public_key: bytes, payload: bytes, signature: bytes) -> bool:
    """Whether `sign` made it."""
    return sign(public_key.hex())(payload) == signature


@dataclass
class Weather:
    """How the network is: until when which trouble, and how likely it is for one frame."""

    until: float = 0.0
    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0


class Connection:
    """One connection, from dialing to its end on both sides.

    Args:
        time, dice, weather: the world's.
        number: of this connection, for its luck.
        agent: who dials; None for a stranger.
        partitioned: whether nothing passes now.
        deaf: whether nothing passes to the ship now, although what it says is heard.
        identity, key: what the ship's end says and signs with.
        heartbeat_s: of the mux.
        mux_events: takes what happens at the mux's end; None once the mux is gone.
        ship_closed: told, at the ship's end, that the link has ended, and whether dialing again can help.
    """

    def __init__(
        self,
        time: Timeline,
        dice: Dice,
        weather: Weather,
        *,
        number: int,
        link: LinkId,
        agent: SimAgent | None,
        partitioned: Callable[[], bool],
        deaf: Callable[[], bool],
        identity: Identity,
        heartbeat_s: float,
        mux_events: Callable[[Connection, protocol.Event], None],
        mux_closed: Callable[[Connection], None],
        ship_closed: Callable[[Connection, bool], None],
    ) -> None:
        self.link = link
        self.number = number
        self.ship = identity.ship
        self.key = identity.public_key
        self.dialed = False
        self.mux_open = self.ship_open = True
        self._time, self._dice, self._weather = time, dice, weather
        self._agent = agent
        self._partitioned, self._deaf = partitioned, deaf
        self._mux_events, self._mux_closed, self._ship_closed = mux_events, mux_closed, ship_closed
        nonce = sha256(f"nonce {number}".encode()).hexdigest()
        self.mux_end = MuxEnd(nonce, heartbeat_s, CERTIFICATE, signature_ok, time.now)
        self.ship_end = ShipEnd(identity, sign(identity.public_key), CERTIFICATE, time.now)
        self._frames = 0
        self._last_arrival = {"mux": 0.0, "ship": 0.0}
        self._held: list[tuple[str, str]] = []
        self._timers = {"mux": 0.0, "ship": 0.0}
        self._retry = True
        self._report_at = 0.0
        self._report_due = False
        self.flush()
        self._flush_ship()

    # --- the mux's end ----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what the mux's end has to say."""
        if not self.mux_open:
            return
        for frame in self.mux_end.messages_to_send():
            self._send("ship", frame)
        self._arm("mux", self.mux_end.next_deadline())

    def close(self, code: str, reason: str) -> None:
        """The mux ends the link."""
        if self.mux_open:
            self._at_mux(self.mux_end.close(code, reason))

    def refuse(self, code: str, reason: str, *, retry: bool) -> None:
        """The mux refuses."""
        if self.mux_open:
            self._at_mux(self.mux_end.refuse(code, reason, retry=retry))

    def mux_dies(self) -> None:
        """The mux's process has ended: its kernel closes the connection, if that can be heard."""
        if self.mux_open:
            self.mux_open = False
            self._tell_ship_of_end()

    def _at_mux(self, events: list[protocol.Event]) -> None:
        for event in events:
            if isinstance(event, protocol.Closed):
                self.flush()
                if self.mux_open:
                    self.mux_open = False
                    self._mux_closed(self)
                    self._tell_ship_of_end()
            else:
                self._mux_events(self, event)
        self.flush()

    # --- the ship's end ---------------------------------------------------------------------------------------------

    def report_soon(self) -> None:
        """There is something new to say."""
        if self.ship_open and not self._report_due:
            self._report_due = True
            self._time.at(self._report_at, self._report)

    def ship_dies(self, *, silently: bool) -> None:
        """The agent has ended; its kernel says so unless the whole machine is gone."""
        if self.ship_open:
            self.ship_open = False
            self._tell_mux_of_end(silently)

    def _report(self) -> None:
        self._report_due = False
        if self.ship_open and self._agent is not None and self.ship_end.state is protocol.State.LINKED:
            self._report_at = self._time.now + REPORT_SPACING_S
            self.ship_end.report(self._agent.observe(), self._time.now)
            if self._agent.machine.hostile and self._dice.roll("noise", self.number, self._frames) < 0.1:
                self._send("mux", '{"type": "observed", "seq": "\\u202e"}')
            self._flush_ship()

    def _flush_ship(self) -> None:
        if not self.ship_open:
            return
        for frame in self.ship_end.messages_to_send():
            self._send("mux", frame)
        self._arm("ship", self.ship_end.next_deadline())

    def _at_ship(self, events: list[protocol.Event]) -> None:
        for event in events:
            match event:
                case protocol.DesiredReceived(desired):
                    self._take(desired)
                case protocol.ReportDue() | protocol.Welcomed():
                    self.report_soon()
                case protocol.WasRefused(_, _, retry):
                    self._retry = retry
                case protocol.Closed():
                    self._flush_ship()
                    self._ship_ends()
                    self._tell_mux_of_end(silently=False)
        self._flush_ship()

    def _take(self, desired: Desired) -> None:
        if self._agent is not None and self._agent.alive:
            self._agent.take(desired)

    def _ship_ends(self) -> None:
        if self.ship_open:
            self.ship_open = False
            self._ship_closed(self, self._retry)

    # --- between them -----------------------------------------------------------------------------------------------

    def _send(self, to: str, frame: str) -> None:
        self._frames += 1
        now, luck = self._time.now, (self.number, self._frames)
        delay = self._dice.between(*FRAME_S, "frame", *luck)
        if self._weather.until <= now:
            arrival = max(now + delay, self._last_arrival[to])
        else:
            if self._dice.roll("lost", *luck) < self._weather.lost:
                return
            if self._dice.roll("doubled", *luck) < self._weather.doubled:
                self._time.after(delay + 0.05, self._arrive, to, frame)
            late = self._dice.roll("late", *luck) < self._weather.late
            arrival = now + delay + (self._dice.between(0.0, LATE_S, "how late", *luck) if late else 0.0)
        self._last_arrival[to] = max(arrival, self._last_arrival[to]) if self._weather.until <= now else now
        self._time.at(arrival, self._arrive, to, frame)

    def _arrive(self, to: str, frame: str) -> None:
        if self._partitioned() or (to == "ship" and self._deaf()):
            self._held.append((to, frame))
        elif to == "mux" and self.mux_open:
            self._at_mux(self.mux_end.receive(frame, self._time.now))
        elif to == "ship" and self.ship_open:
            self._at_ship(self.ship_end.receive(frame, self._time.now))

    def _arm(self, side: str, deadline: float | None) -> None:
        if deadline is not None and (self._timers[side] <= self._time.now or deadline < self._timers[side]):
            self._timers[side] = deadline
            self._time.at(deadline + 0.001, self._timer, side)

    def _timer(self, side: str) -> None:
        if side == "mux" and self.mux_open:
            self._at_mux(self.mux_end.handle_timer(self._time.now))
        elif side == "ship" and self.ship_open:
            self._at_ship(self.ship_end.handle_timer(self._time.now))

    def partition(self) -> None:
        """Nothing passes from now on; both ends find out by their pings, if it lasts."""
        for side in ("mux", "ship"):
            wait = self._dice.between(*PING_DEAD_S, "ping", self.number, side)
            self._time.after(wait, self._ping_failed, side)

    def heal(self) -> None:
        """What was held back arrives after all."""
        held, self._held = self._held, []
        for to, frame in held:
            self._arrive(to, frame)

    def _ping_failed(self, side: str) -> None:
        if not self._partitioned():
            return
        if side == "mux" and self.mux_open:
            self._mux_hears_end()
            self._tell_ship_of_end()
        elif side == "ship" and self.ship_open:
            self._ship_ends()
            self._tell_mux_of_end(silently=False)

    def _tell_ship_of_end(self) -> None:
        dead = self._partitioned()
        low, high = PING_DEAD_S if dead else FRAME_S
        wait = self._dice.between(low, high, "end at ship", self.number)
        # What was sent before the end arrives before it.
        self._time.at(max(self._time.now + wait, self._last_arrival["ship"] + 0.001), self._ship_ends)

    def _tell_mux_of_end(self, silently: bool) -> None:
        low, high = PING_DEAD_S if silently or self._partitioned() else FRAME_S
        wait = self._dice.between(low, high, "end at mux", self.number)
        self._time.at(max(self._time.now + wait, self._last_arrival["mux"] + 0.001), self._mux_hears_end)

    def _mux_hears_end(self) -> None:
        if self.mux_open:
            self.mux_open = False
            self._mux_closed(self)
