// Every bound of the node-to-node control plane, with its unit and its reason. Holds numbers only.

const KiB = 1024;
const MiB = 1024 * KiB;

// ---------------------------------------------------------------- messages

/** A report of a node with about 500 instances; a larger one is refused by its author and by every reader. */
export const REPORT_BYTES_MAX = 256 * KiB;
/** Instances, or droplets, in one. */
export const REPORT_ITEMS_MAX = 4_096;
/**
 * A node whose reports cannot be understood is asked for a whole one at most this often, and so many nodes at the same
 * time.
 */
export const REPORT_ASK_INTERVAL_MS = 5_000;
export const REPORT_ASKS_PARALLEL_MAX = 8;
export const MEMBERSHIP_BYTES_MAX = 4 * KiB;
/** Changes of people's actions are small; what does not fit travels by anti-entropy instead. */
export const CHANGES_BYTES_MAX = 512 * KiB;
export const CHANGES_PER_MESSAGE_MAX = 1000;
/** One gossipsub frame may carry several messages at once (replies to IWANT). */
export const GOSSIP_FRAME_BYTES_MAX = 4 * MiB;
/** Unsent gossip kept for a slow neighbour; beyond it the stream is reset and opened anew. */
export const GOSSIP_UNSENT_BYTES_MAX = 8 * MiB;
export const GOSSIP_HEARTBEAT_MS = 1000;
/**
 * Neighbours that a message is passed on to: aimed at, at least, at most. Each costs another copy of everything; with
 * fewer, one that goes is missed until the next heartbeat of gossip.
 */
export const GOSSIP_MESH = { aim: 3, min: 2, max: 4 };
/**
 * Other neighbours that are told at each heartbeat of gossip which messages there were, so that they can ask for one
 * they missed.
 */
export const GOSSIP_LAZY_NEIGHBOURS = 2;
/** How long a message id is remembered, so that no loop of the mesh delivers it twice. */
export const GOSSIP_SEEN_TTL_MS = 60_000;
/** Looks at a connection without gossip streams (quiet.ts) before it is replaced. */
export const GOSSIP_MISSING_LOOKS_MAX = 60;
/**
 * Nodes that dial without being members: how long until they count as insisting, until they are forgotten, how many.
 */
export const STRANGER_INSISTS_MS = 10_000;
export const STRANGER_FORGOTTEN_MS = 600_000;
export const STRANGERS_MAX = 64;
/** One line per reason in this time, with the number of messages refused since the last. */
export const REJECTION_LOG_INTERVAL_MS = 10_000;

// ---------------------------------------------------------------- connections

/** Up to this many admitted nodes every node keeps a connection to every other. */
export const FULL_MESH_NODES_MAX = 50;
/** Beyond it, each node keeps this many, chosen by rendezvous; together they form a connected random graph. */
export const NEIGHBOURS = 20;
export const CONNECTIONS_MAX = 256;
/**
 * Inbound connections one host may open per second; times the upgrade timeout it stays below CONNECTIONS_PENDING_MAX,
 * so one host cannot use up all places.
 */
export const INBOUND_PER_HOST_PER_SECOND_MAX = 16;
export const CONNECTIONS_PENDING_MAX = 256;
/**
 * Key exchange included. One that is given up is made again, at the same cost, by a node that is short of time
 * already: so this is longer than a node with a twentieth of a core needs, and short enough to shed strangers.
 */
export const INBOUND_UPGRADE_TIMEOUT_MS = 15_000;
export const LISTEN_BACKLOG = 128;
export const TCP_KEEP_ALIVE_DELAY_MS = 10_000;
/** For all addresses of a node together. */
export const DIAL_TIMEOUT_MS = 30_000;
/** Until the host has accepted: its kernel does, however busy it is. Nobody there: the next address is tried. */
export const DIAL_ACCEPT_TIMEOUT_MS = 2_000;
/** Key exchange included; as the other side's INBOUND_UPGRADE_TIMEOUT_MS, which ends it. */
export const DIAL_ADDRESS_TIMEOUT_MS = 15_000;
export const DIALS_PARALLEL_MAX = 8;
/**
 * Of those, dials that nobody waits for: a node that starts, or that lost all connections at once, makes them a few at
 * a time.
 */
export const DIALS_IN_BACKGROUND_MAX = 3;
export const STREAM_OPEN_TIMEOUT_MS = 10_000;
export const REDIAL_DELAY_MIN_MS = 100;
export const REDIAL_DELAY_MAX_MS = 10_000;
/** Head start of the node with the smaller id, so that two nodes rarely dial each other at once. */
export const DIAL_HEAD_START_MS = 150;
/**
 * The same where both sides have just lost the connection and know it: a busy node takes a second for a key exchange,
 * and two for one pair are twice the work. The larger id waits this long and up to as much again; the smaller up to
 * REDIAL_SPREAD_MS.
 */
export const REDIAL_HEAD_START_MS = 2_000;
export const REDIAL_SPREAD_MS = 100;
/**
 * How often every connection is looked at, to see whether anything came over it. A look that is itself late does not
 * count.
 */
export const QUIET_LOOK_INTERVAL_MS = 1_000;
export const QUIET_LOOK_LATE_MS = 400;
/**
 * Looks without a byte until the other side is asked for an answer: more than a heartbeat apart where each comes
 * directly.
 */
export const QUIET_LOOKS_MAX = 4;
/** The same in a cluster too large for a connection to everyone, where heartbeats come from others. */
export const QUIET_LOOKS_MAX_LARGE = 30;
/**
 * How long it may take to answer before a second connection is tried beside this one. So many are asked at the same
 * time.
 */
export const QUIET_ANSWER_TIMEOUT_MS = 3_000;
export const QUIET_ASKED_PARALLEL_MAX = 4;
/**
 * A connection that lived less than this counts as a failed dial; two younger than this are taken for simultaneous
 * dials.
 */
export const CONNECTION_SETTLED_MS = 5_000;
/**
 * One of two simultaneous connections is closed when nothing runs over it, looked at this often and at most so many
 * times.
 */
export const CONNECTION_RETIRE_INTERVAL_MS = 1_000;
export const CONNECTION_RETIRE_CHECKS_MAX = 10;
/** Connections tried for one stream: one may be closing while it is chosen. */
export const STREAM_OPEN_ATTEMPTS_MAX = 3;
/** How long a connection that takes no streams any more may need until it is seen closed. */
export const CONNECTION_CLOSING_WAIT_MS = 200;
/** After the machine lost an address, every connection has to answer in this time. */
export const CONNECTION_CHECK_TIMEOUT_MS = 1_000;
/**
 * Most the receiver of one stream lets the sender run ahead; larger is faster over long distances and costs memory.
 */
export const STREAM_WINDOW_BYTES_MAX = 2 * MiB;
export const STREAM_UNREAD_BYTES_MAX = 4 * MiB;
export const STREAMS_PER_CONNECTION_MAX = 256;
/** Small enough that a heartbeat behind it on the same connection is not noticeably late. */
export const WRITE_BYTES_MAX = 64 * KiB;

// ---------------------------------------------------------------- addresses

export const ADDRESS_BYTES_MAX = 256;
export const ADDRESSES_PER_NODE_MAX = 8;
/** Of those, at most this many from unauthenticated discovery on the local network. */
export const ADDRESSES_DISCOVERED_MAX = 2;
export const ADDRESS_BOOK_NODES_MAX = 2_000;
export const ADDRESS_BOOK_SAVE_DELAY_MS = 1_000;
export const ADDRESS_BOOK_BYTES_MAX = 8 * MiB;
export const DISCOVERY_INTERVAL_MS = 10_000;

// ---------------------------------------------------------------- requests

export const RPC_REQUEST_BYTES_MAX = 1 * MiB;
/** One reply, or one value of a streamed reply. */
export const RPC_REPLY_BYTES_MAX = 8 * MiB;
/** Requests of one node that run here at the same time; more are answered with `busy`. */
/** What is around a request, or an answer, of its method's own size. */
export const RPC_ENVELOPE_BYTES = 1 * KiB;
/** An error in place of an answer. */
export const RPC_ERROR_BYTES_MAX = 32 * KiB;
export const RPC_INBOUND_PER_NODE_MAX = 64;
/** Streams per connection and protocol: a little more, so that `busy` can be said at all. */
export const RPC_STREAMS_MAX = RPC_INBOUND_PER_NODE_MAX + 16;
/** How long the caller may take to send its request, or to take one frame of the reply. */
export const RPC_FRAME_TIMEOUT_MS = 15_000;
/** A quiet streamed reply sends a beat this often; its caller gives up after three are missing. */
export const RPC_BEAT_INTERVAL_MS = 15_000;
export const RPC_SILENCE_MAX_MS = 3 * RPC_BEAT_INTERVAL_MS + RPC_FRAME_TIMEOUT_MS;
export const RPC_METHOD_BYTES_MAX = 128;
export const RPC_ERROR_CHARS_MAX = 4_096;

// ---------------------------------------------------------------- bytes in both directions

/** Small enough that a heartbeat behind it is not noticeably late; a little over what a frame of a session holds. */
export const DUPLEX_FRAME_BYTES_MAX = 64 * KiB + 16;
/** The command line that attends to a command sends a beat every 10 s. */
export const DUPLEX_SILENCE_MAX_MS = 45_000;
/** Per connection. */
export const DUPLEX_STREAMS_MAX = 64;

// ---------------------------------------------------------------- anti-entropy

/** A first sync carries the whole history in one message. */
export const SYNC_FRAME_BYTES_MAX = 32 * MiB;
export const SYNC_BYTES_MAX = 128 * MiB;
export const SYNC_ROUNDS_MAX = 100;
/** The other side may need this long to apply what it was sent. */
export const SYNC_FRAME_TIMEOUT_MS = 20_000;
export const SYNC_TIMEOUT_MS = 120_000;
export const SYNC_STREAMS_MAX = 4;
/** Nodes synced with at once after a change too large for gossip. */
export const SYNC_PARALLEL_MAX = 4;

// ---------------------------------------------------------------- probes

/** From this delay of its own timers on, a node gives the other more time before it calls it silent. */
export const PROBE_OWN_DELAY_MS = 50;

// ---------------------------------------------------------------- reports to neighbours

/** A greeting: two whole reports. */
export const BEAT_BYTES_MAX = 2 * REPORT_BYTES_MAX + KiB;
/**
 * Longer than a node may stand still, as it is not heard of then, but not as long as a stream that nobody uses is
 * kept.
 */
export const BEAT_SILENCE_MAX_MS = 10 * 60_000;
/**
 * Frames that wait: for the stream to be open, or for the connection to be told. More of them say nothing that the
 * next does not.
 */
export const BEATS_WAITING_MAX = 8;
export const BEATS_EARLY_MAX = 8;
/** Each side has one; a second while the first is being given up. */
export const BEAT_STREAMS_MAX = 2;
