"""Every bound of the data plane, with its reason. Sizes in bytes, times in seconds.

Knows nothing; is imported by the rest. ``docs/reference/proxy.md`` lists the same names.
"""

from __future__ import annotations

from typing import Final

HEAD_BYTES_MAX: Final = 32 * 1024
"""Request or response head, last empty line included. Browsers send under 1 KB, large cookies make it 8 KB."""

HEAD_FIELDS_MAX: Final = 100
"""Fields of one head. A browser sends about 20; each one costs processor time."""

LIST_ITEMS_MAX: Final = 64
"""Items of Connection or Upgrade. One or two are usual; thousands of empty ones, which a recipient is to pass over
(RFC 9110 section 5.6.1.2), cost milliseconds a head."""

COOKIES_MAX: Final = 500
"""Cookies of one request. Browsers keep 150 to 180 of a site; thousands of empty ones cost ten milliseconds a head."""

COOKIE_ATTRIBUTES_MAX: Final = 32
"""Attributes of one Set-Cookie; nine have a meaning."""

LENGTH_DIGITS_MAX: Final = 15
"""Digits of a Content-Length: 10^15 is more than any disk, and exact in every number type."""

CHUNK_DIGITS_MAX: Final = 12
"""Hexadecimal digits of a chunk size: 2^48 is more than any disk, and exact in every number type."""

CHUNK_LINE_BYTES_MAX: Final = 256
"""One chunk-size line with its extensions; nobody is known to need extensions."""

CHUNK_EXTENSION_BYTES_MAX: Final = 16 * 1024
"""All chunk extensions of one message: they would otherwise be traffic that no body limit sees."""

TRAILER_BYTES_MAX: Final = 8 * 1024
"""All trailer fields of one message."""

INTERIM_RESPONSES_MAX: Final = 16
"""1xx responses before the final one: one 100, a few 103, some 102 of a slow handler."""

PIPELINE_BYTES_MAX: Final = 64 * 1024
"""Bytes of later requests (or early WebSocket frames) that are kept while one is under way; then reading pauses."""

BODY_PENDING_BYTES_MAX: Final = 64 * 1024
"""Request body kept while the upstream connection is still being made; then reading pauses. One read may exceed it."""

WRITE_BUFFER_BYTES_HIGH: Final = 128 * 1024
"""Unsent bytes of one connection at which its peer is no longer read."""

WRITE_BUFFER_BYTES_LOW: Final = 32 * 1024
"""Unsent bytes at which the peer is read again."""

READ_BYTES_MAX: Final = 256 * 1024
"""What both event loops take from a socket at once. Whoever stops reading has been given this much already."""

FIRST_BYTE_S: Final = 30.0
"""A client connection before its first byte. Browsers open some ahead and close them unused after 10 s."""

IDLE_S: Final = 75.0
"""A client connection between requests. Browsers keep theirs for a minute or more."""

HEAD_S: Final = 20.0
"""From a head's first byte to its last: a head fits two packets, so this is for bad networks, not for slow writers."""

HANDSHAKE_S: Final = 20.0
"""For TLS: two round trips, also on a bad network."""

BODY_STALL_S: Final = 60.0
"""Without one byte of a request body that is still owed."""

CONNECT_S: Final = 5.0
"""To open a connection to an upstream, which is on the same network."""

RESPONSE_HEAD_S: Final = 1800.0
"""From the request's last byte to the response head. Notebook handlers may work for many minutes."""

WEB_HEAD_S: Final = 60.0
"""From the request's last byte to the response head of a page: a login storm takes seconds, nothing takes a minute."""

CONTROL_GONE_S: Final = 15.0
"""The same while the feed is down. The supervisor holds the control process's sockets, so a request waits there for its
restart, which takes a second, or several where a new version begins on a machine that is busy, and is then answered as
if nothing had been."""

CLIENT_STALL_S: Final = 300.0
"""A client that takes nothing of a response that is waiting for it (a paused download); it holds buffers."""

HALF_CLOSED_STALL_S: Final = 20.0
"""A client that closed its sending side and a response that does not move: a browser that left looks the same, and none
that stays does so."""

LINGER_S: Final = 3.0
"""After the last response: what the client still sends is read away, so that a reset cannot destroy that response
(RFC 9112 section 9.6)."""

LINGER_BYTES_MAX: Final = 1024 * 1024
"""Bytes that are read away while lingering."""

LAST_WORDS_BYTES_MAX: Final = 64 * 1024
"""Bytes of an answer that are taken from the kernel after an upstream reset the connection in the middle of a body: the
reason for it is short, and what is longer is broken off. Less than one read, so nothing is held beyond that."""

DRAIN_IDLE_S: Final = 0.5
"""After SIGTERM, for a request that was on its way while the connection still was idle: a network's round trip."""

DRAIN_S: Final = 10.0
"""After SIGTERM, for requests in flight. Tunnels and event streams have no end to wait for."""

POOL_IDLE_MAX_WORKSPACE: Final = 2048
"""Idle upstream connections of one workspace. A browser opens six, a script hundreds or more, and would otherwise dial
for each request; POOL_IDLE_S ends what is not used."""

POOL_IDLE_MAX: Final = 8192
"""Idle upstream connections of a worker in all: each is a descriptor here and a few KB in a workspace."""

POOL_IDLE_MAX_WEB: Final = 32
"""Idle upstream connections to the control process, which all attendees share."""

POOL_IDLE_S: Final = 30.0
"""Age of an idle upstream connection at which it is closed; servers close theirs after 5 s to an hour."""

FRESH_S: Final = 1.0
"""Age of an idle upstream connection up to which it may carry a request that must not be sent twice: servers keep
theirs for two seconds (gunicorn), five (uvicorn, Node.js) or an hour (tornado), and none is known to close sooner."""

FRESH_BODY_BYTES_MAX: Final = 32 * 1024
"""Body of such a request: one that the kernel takes at once, however busy the workspace is. With a longer one, or
one whose length is not known, the connection is made anew: it costs little beside the body, and REUSED_USER_TIMEOUT_MS
does not end it."""

KEEPALIVE_IDLE_S: Final = 10
"""TCP keepalive: silence before the first probe. With the two below a dead peer is found in 40 s; nothing is sent
inside the stream."""

KEEPALIVE_INTERVAL_S: Final = 10
"""TCP keepalive: time between probes."""

KEEPALIVE_PROBES: Final = 3
"""TCP keepalive: unanswered probes after which the peer is dead."""

TUNNEL_USER_TIMEOUT_MS: Final = 35_000
"""TCP_USER_TIMEOUT of both legs of a tunnel: bytes that nobody acknowledges; keepalive does not run while some are
outstanding. Plain HTTP has CLIENT_STALL_S instead, since this one also ends a paused download."""

REUSED_USER_TIMEOUT_MS: Final = 10_000
"""TCP_USER_TIMEOUT of a kept upstream connection that is used again: a machine that vanished acknowledges nothing, and
the kernel would send the request anew for a quarter of an hour. It is then tried on a new connection. Only requests
without a body, or with a short one, go out on these; their acknowledgement is the kernel's, however busy the workspace
is."""

TUNNEL_ACTIVE_BYTES_MIN: Final = 64
"""Bytes between two batches of counters that make a tunnel active: more than the pings of a tab that is merely open."""

SPLICE_BYTES_MIN: Final = 512 * 1024
"""Body that is still to come from which on it goes through the kernel: below it setting that up costs more."""

SPLICE_PIPE_BYTES: Final = 256 * 1024
"""Pipe of one body under way: what a stalled download holds, beside the kernel's socket buffers."""

SPLICE_PIPES_IDLE_MAX: Final = 32
"""Pipes that are kept for the next body."""

MEMO_HEADS: Final = 4096
"""Heads of each direction that are remembered, twice as many at most. At 2 KB each this is 16 MB for a worker at most,
and a room of 300 with a dozen different heads each fits."""

MEMO_WRITES: Final = 1024
"""Heads of requests that may have a body, twice as many at most: they are fewer, and most have a length of their own,
so that their lines are what is found again."""

MEMO_HEAD_BYTES_MAX: Final = 4096
"""Larger heads are read anew each time: nobody may fill the memory of all with a few large ones."""

MEMO_LINES: Final = 4096
"""Field lines of each direction that are remembered, twice as many at most."""

MEMO_LINE_BYTES_MAX: Final = 1024
"""Longer lines are judged anew each time."""

AGAIN_BYTES_MAX: Final = 2048
"""A connection's last request, and the head of its answer, are kept to be compared with the next if they are no longer:
a browser's heads are under 1 KB."""
AGAIN_S: Final = 5.0
"""So long: an idle connection shall cost little, and pages that poll do so more often."""

CONNECTION_BYTES_MAX: Final = (
    (PIPELINE_BYTES_MAX + READ_BYTES_MAX)
    + 2 * (WRITE_BUFFER_BYTES_HIGH + READ_BYTES_MAX + HEAD_BYTES_MAX)
    + 4 * AGAIN_BYTES_MAX
)
"""What one client connection and its upstream hold in buffers at their worst: requests to come, what neither side
takes, and the last request and answer. A body that goes through the kernel has its pipe instead of the second. Not in
it: the kernel's socket buffers, TLS, and PUT_OFF_BYTES_MAX, of all together."""

HELD_BYTES_MAX: Final = 256 * 1024 * 1024
"""What all connections of one attendee, or of one address without a login, hold in buffers whenever it is looked at:
hundreds of paused downloads. One attendee may have thousands of connections, and CONNECTION_BYTES_MAX for each would be
more than most machines have."""

MEMO_DOORS: Final = 8192
"""Ways from a login to a workspace that are remembered, twice as many at most: one a project and attendee."""

MEMO_PEERS: Final = 4096
"""Addresses of clients whose text forms are remembered."""

SWEEP_S: Final = 1.0
"""How often deadlines are looked at: one timer for all connections instead of several for each."""

COUNTERS_S: Final = 5.0
"""How often counters go to the control process."""

TUNNELS_AT_ONCE: Final = 64
"""Tunnels whose activity is looked at in one turn of the event loop, at some 4 microseconds each."""

FEED_BACKOFF_FIRST_S: Final = 0.1
"""First pause before the feed is dialled again; a restart of the control process takes about a second."""

FEED_BACKOFF_MAX_S: Final = 2.0
"""Longest pause: logins and routes are stale for this long after the control process is back."""

FIRST_FEED_S: Final = 10.0
"""A proxy that starts does not accept before its first feed, so that those who come are another proxy's or wait; after
this long they are told that the event is starting."""

CUT_TURNS_MAX: Final = 1000
"""Turns of the event loop that an acknowledgement waits for cut connections to be gone; two are enough."""

FDS_RESERVED: Final = 64
"""File descriptors kept free for listeners, feed, logs and the interpreter."""

FDS_MIN: Final = 1024
"""File descriptors below which a proxy does not start: a few dozen people with open tabs would find it full."""

FDS_GOAL: Final = 150_000
"""File descriptors that are asked for at the start: enough for CONNECTIONS_MAX and what comes with them."""

FDS_IDLE_SHARE: Final = 8
"""One in so many descriptors is for idle upstream connections."""

FDS_PIPES_SHARE: Final = 8
"""One in so many descriptors is for large bodies; those that find none pass through the process."""

PIPE_FDS: Final = 4
"""Descriptors of one large body: both ends of its pipe, and both sockets once more."""

CONNECTIONS_MAX: Final = 50_000
"""Client connections, if file descriptors would allow more: at a few KB each this is a few hundred MB."""

ATTENDEE_SHARE: Final = 4
"""One attendee may hold one in so many of all connections, WebSockets included: no script of one stops the room. Over
HTTP/1.1 this bounds requests in flight too."""

STRANGERS_SHARE: Final = 2
"""One address may hold one in so many of all connections without a login. A conference is one address, and logs in
within a minute; who has logged in counts for themselves. Proxies in front that are trusted are not counted."""

SHARE_MIN: Final = 256
"""Connections that a share allows at least, where file descriptors are few; at most a third of all, nevertheless."""

LISTEN_BACKLOG: Final = 4096
"""Connections that the kernel keeps while this process is busy: a room that opens one link in the same second."""

TURN_S: Final = 0.02
"""After which a turn of the event loop takes no new requests: new connections, timers and changes of routes wait for
its end."""

PUT_OFF_BYTES_MAX: Final = 16 * 1024 * 1024
"""What one turn of the event loop puts off to the next, of all connections: the heads of twenty thousand browsers.
Beyond it each connection that brings something is not read until then, so it adds one read at most."""

READ_ON_MAX: Final = 8
"""Connections that are read on in one turn, of those whose bodies or tunnels came in one that had lasted for too long:
a read of the smallest chunks takes 2 ms."""

WATCH_S: Final = 0.1
"""How often it is looked whether turns last for longer than TURN_S, while there are tunnels."""

WATCH_QUIET_S: Final = 1.0
"""So long after the last such turn tunnels are not watched any more: whoever floods goes on, or is gone."""

REST_BYTES_MIN: Final = 64 * 1024
"""One read of a watched tunnel from which on it rests in such a turn. Smaller ones cost little more than their system
calls, and are most of what notebooks say."""

ACCEPTS_MAX: Final = 256
"""Connections that are taken in one turn of the event loop, beside the one that the loop takes: a burst is served soon
and still spreads over the workers."""

ACCEPT_AGAIN_S: Final = 1.0
"""After which a TLS listener that found no descriptor for a new connection looks again, as asyncio's own servers do."""

RELOAD_S: Final = 3
"""After which an error page loads itself again."""

UPSTREAM_LOG_S: Final = 10.0
"""At most one log line for each kind of upstream failure in this time; the counters have all of them."""
