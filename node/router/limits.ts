// Every bound of the data plane, with its unit and why it has this size. Contains no behaviour.

// ---------------------------------------------------------------- clients of the public listener

/** Header block of one request; above it the client gets 431. Cookies of large single-page apps stay under it. */
export const CLIENT_HEADER_BYTES_MAX = 32 * 1024;
/** A header block that takes longer is a slow attack, answered 408. */
export const CLIENT_HEADERS_TIMEOUT_MS = 15_000;
/** A whole request, body included. Long enough for a droplet-sized upload over a slow uplink. */
export const CLIENT_REQUEST_TIMEOUT_MS = 15 * 60_000;
/**
 * Between two requests on one connection. Longer than the idle time-outs of common load balancers (60 s), so that
 * those close first.
 */
export const CLIENT_KEEP_ALIVE_MS = 65_000;
/** Nothing sent or received on a connection that has a request. */
export const CLIENT_IDLE_TIMEOUT_MS = 15 * 60_000;
/** Open client connections per thread, about 10 kB each; above it new ones are closed at once. */
export const CLIENT_CONNECTIONS_MAX = 8_192;
/** How long a client may go on sending a body that nobody reads any more, before its connection is closed. */
export const UNREAD_BODY_TIMEOUT_MS = 10_000;
/** How often the time-outs above are checked. */
export const TIMEOUT_CHECK_INTERVAL_MS = 5_000;

// ---------------------------------------------------------------- upstreams

/** An instance on loopback that does not accept in this time is overloaded or frozen. */
export const LOCAL_DIAL_TIMEOUT_MS = 1_000;
/** TCP and TLS handshake with another node's link. */
export const LINK_DIAL_TIMEOUT_MS = 2_000;
/** Time to the response's header. As long as Cloud Foundry's router allows, for reports and long polls. */
export const UPSTREAM_HEADERS_TIMEOUT_MS = 15 * 60_000;
/** Between two pieces of a response's body; an event stream that is silent for longer is cut. */
export const UPSTREAM_BODY_IDLE_TIMEOUT_MS = 15 * 60_000;
/** Header block of one response. */
export const UPSTREAM_HEADER_BYTES_MAX = 64 * 1024;
/**
 * Below the 5 s of Node's own HTTP server: reusing a connection that the app is about to close costs a failed request.
 */
export const LOCAL_KEEP_ALIVE_MS = 4_000;
/** Below LINK_SERVER_KEEP_ALIVE_MS, for the same reason. */
export const LINK_KEEP_ALIVE_MS = 60_000;
/** Connections to one instance, or to one link. Requests above it wait. */
export const UPSTREAM_SOCKETS_MAX = 256;
/** Requests to one instance, running and waiting; above it another instance is taken, or the client gets 503. */
export const UPSTREAM_REQUESTS_MAX = 512;
/** A failed instance gets no requests for this long, unless all of its app have failed. */
export const FAILED_UPSTREAM_SKIP_MS = 30_000;
/** Tries of one request, the first included. */
export const ATTEMPTS_MAX = 3;
/**
 * Nodes whose links cannot be dialled, beyond the tries above, before a request gives up: each may cost
 * LINK_DIAL_TIMEOUT_MS, once.
 */
export const UNREACHED_LINKS_MAX = 4;
/**
 * Start of a request body kept in memory until the response begins, so that it can be sent again to another upstream.
 */
export const REPLAY_BYTES_MAX = 64 * 1024;

// ---------------------------------------------------------------- tunnels (websockets, CONNECT)

/** Kernel keep-alive probes start after this much silence, so that a vanished peer is noticed. */
export const TUNNEL_KEEP_ALIVE_MS = 30_000;
/** One side has ended; the other may go on for this long without traffic. */
export const TUNNEL_HALF_CLOSED_IDLE_MS = 15 * 60_000;
/** One side is gone; what it had sent must be taken by the other in this time. */
export const TUNNEL_FLUSH_TIMEOUT_MS = 30_000;

// ---------------------------------------------------------------- services

/** To one service, from this node; and as many from others, on the node that runs it. Above it they are refused. */
export const SERVICE_CONNECTIONS_MAX = 1_000;
/** Until the service accepts a connection, once its node has been reached: an engine that is stopped is frozen. */
export const SERVICE_CONNECT_TIMEOUT_MS = 3_000;
/** Connections that wait to be accepted: apps open a whole pool at once when they start. */
export const DOORS_BACKLOG = 511;
/** Of an exported service: for a client that is there to ask for TLS, and to come to terms on it. */
export const GUARD_TIMEOUT_MS = 10_000;
/** What either side of such a connection says in clear at most: a greeting, and a request for TLS. */
export const GUARD_BYTES_MAX = 4 * 1024;
/** Pause after a door could not be opened: its address may be another program's, or not there yet. */
export const DOOR_RETRY_DELAY_MS = 1_000;

// ---------------------------------------------------------------- the link

export const LINK_HEADER_BYTES_MAX = 64 * 1024;
export const LINK_SERVER_KEEP_ALIVE_MS = 75_000;
export const LINK_HANDSHAKE_TIMEOUT_MS = 5_000;
export const LINK_CONNECTIONS_MAX = 4_096;
/** Connections of nodes that are not admitted, at one time. They may only ask to join. */
export const STRANGER_CONNECTIONS_MAX = 64;
/** Life of a stranger's connection: a join with its handler's time, and some for sending the reply. */
export const STRANGER_CONNECTION_MS = 60_000;
/** While requests wait on a link it is asked for a sign of life this often… */
export const LINK_PING_INTERVAL_MS = 2_500;
/** …and given up when none came for this long: its connections are cut, and what can be repeated goes elsewhere. */
export const LINK_PING_TIMEOUT_MS = 7_500;
/** For a sign of life of a link whose node says that it is reached elsewhere now. */
export const LINK_DOUBT_TIMEOUT_MS = 2_500;
/** A link that could not be dialled is dialled again after this pause, which doubles to the second one. */
export const LINK_REDIAL_DELAY_MIN_MS = 250;
export const LINK_REDIAL_DELAY_MAX_MS = 4_000;
/** A link that is down for less is not spoken of: its node may just have ended, which everyone hears by then. */
export const LINK_DOWN_TOLD_AFTER_MS = 3_000;
/** How often it is looked whether there is something new to say about links that are down. */
export const LINK_DOWN_LOOK_INTERVAL_MS = 1_000;
/** Links spoken of at a time. */
export const LINKS_DOWN_TOLD_MAX = 64;
/**
 * Kernel keep-alive probes on an idle link start after this much silence: one over an address that is gone ends before
 * long.
 */
export const LINK_TCP_KEEP_ALIVE_MS = 5_000;
/** When our own timers were late by more than this, a missed ping says nothing about the other side. */
export const LINK_PING_LATENESS_MAX_MS = 1_000;

// ---------------------------------------------------------------- blobs

/** Fetches served at one time, per thread; more are told that this node is busy. */
export const BLOB_FETCHES_MAX = 8;
/** Two of them for each fetch: one is read while the other is sent. */
export const BLOB_READ_BYTES = 256 * 1024;
/** A request names at most 256 ranges. */
export const BLOB_REQUEST_BYTES_MAX = 32 * 1024;
/** Requests of one fetch that wait for their answer. */
export const BLOB_REQUESTS_AHEAD_MAX = 8;
export const BLOB_ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** A fetch that takes or asks nothing for this long is ended. */
export const BLOB_IDLE_TIMEOUT_MS = 60_000;

// ---------------------------------------------------------------- joining

export const JOIN_REQUEST_BYTES_MAX = 16 * 1024;
/** Holds a snapshot of the desired state. */
export const JOIN_REPLY_BYTES_MAX = 64 * 1024 * 1024;
export const JOIN_BODY_TIMEOUT_MS = 5_000;
/** Admission is an acknowledged write: it waits for another node's disk. */
export const JOIN_HANDLER_TIMEOUT_MS = 20_000;
export const JOINS_PER_SECOND = 10;
export const JOINS_BURST = 20;
export const JOINS_CONCURRENT_MAX = 8;

// ---------------------------------------------------------------- the process

/** Lines about failing upstreams and refused nodes; what is above is counted, not written. */
export const LOG_LINES_PER_SECOND = 2;
export const LOG_LINES_BURST = 20;

/** Requests in flight may finish for this long when the router closes. */
export const CLOSE_GRACE_MS = 10_000;
/** Start of the process until it listens; the first start on a slow machine compiles everything. */
export const START_TIMEOUT_MS = 30_000;
export const RESTART_DELAY_MIN_MS = 100;
export const RESTART_DELAY_MAX_MS = 10_000;
/** Crashes in a row (no RESTART_HEALTHY_MS between them) after which the router stays down and the daemon is told. */
export const RESTARTS_MAX = 20;
export const RESTART_HEALTHY_MS = 60_000;
/** One line of the process's stderr. */
export const STDERR_LINE_BYTES_MAX = 4_096;
