// Every code with which something that a person or a program asked for can fail: what it means, how the API answers
// it, and what to do. The one place that says so: the API's answers, its documentation (node/api/ERRORS.md) and the
// tests follow from it.

/**
 * - `nothing`: what was asked for did not happen.
 * - `perhaps`: it is kept, or may hold: look before you ask again.
 */
export type Changed = 'nothing' | 'perhaps';

/**
 * - `no`: the same request fails again; it has to be another one, or something else has to change first.
 * - `later`: the same request may succeed later.
 * - `elsewhere`: another node may do it now.
 */
export type Retry = 'no' | 'later' | 'elsewhere';

export type ErrorEntry = {
  /** Of the API's answer; undefined for what only a start can fail with. */
  status: number | undefined;
  changed: Changed;
  retry: Retry;
  /** Of the command that asked: 2 when what was asked for is wrong in itself, whatever the cluster holds; else 1. */
  exit: 1 | 2;
  meaning: string;
};

const nothing = (status: number | undefined, retry: Retry, meaning: string): ErrorEntry => ({
  status,
  changed: 'nothing',
  retry,
  exit: 1,
  meaning,
});
/** The request is wrong in itself. */
const wrong = (meaning: string): ErrorEntry => ({ ...nothing(400, 'no', meaning), exit: 2 });
const perhaps = (status: number, meaning: string): ErrorEntry => ({
  ...nothing(status, 'later', meaning),
  changed: 'perhaps',
});

export const ERRORS = {
  // The request
  bad_request: wrong('the request is not as it should be; the message names the field'),
  bad_frame: nothing(400, 'no', 'what was sent over a session is none of its frames'),
  upload_cut_off: nothing(400, 'later', 'the upload ended before its end'),
  unauthorized: nothing(401, 'no', 'no token, or none that is known'),
  forbidden: nothing(403, 'no', "the token's role, or its apps, do not allow it"),
  not_found: nothing(404, 'no', 'there is no such app, node, user or path'),
  caller_gone: nothing(408, 'later', 'whoever asked has gone'),
  too_late: nothing(408, 'later', 'the request had waited for longer than whoever asked waits'),
  push_in_progress: nothing(409, 'later', 'a push of the app is under way on this node'),
  name_ambiguous: nothing(409, 'no', 'several nodes have the name: say the id'),
  too_large: nothing(413, 'no', 'it is larger than a bound that the message names'),
  internal: nothing(500, 'later', "an error that nobody foresaw; the node's log has it under an id"),

  // Changes of the desired state
  invalid_change: wrong('the change is none that there is'),
  invalid_name: wrong('a name breaks the rules for names'),
  invalid_id: wrong('an id breaks the rules for ids'),
  invalid_route: wrong('a route is no host with an optional path'),
  invalid_env: wrong('a variable cannot be set so'),
  invalid_value: wrong('a setting has a value that it cannot have'),
  out_of_range: wrong('a number is out of its range'),
  limit_reached: nothing(400, 'no', 'there are as many as there may be: remove one first'),
  app_exists: nothing(409, 'no', 'the name is taken by another app'),
  app_unknown: nothing(404, 'no', 'there is no such app'),
  process_unknown: nothing(404, 'no', 'the app has no such process'),
  release_exists: nothing(409, 'no', 'the release is there already'),
  release_unknown: nothing(404, 'no', 'the app has no such release'),
  nothing_to_roll_back: nothing(409, 'no', 'there is no earlier release to go back to'),
  route_taken: nothing(409, 'no', 'another app has the host, or the route'),
  route_reserved: nothing(403, 'no', 'only admins may give out the route'),
  route_unknown: nothing(404, 'no', 'the app does not have the route'),
  user_exists: nothing(409, 'no', 'the name is taken by another user'),
  user_unknown: nothing(404, 'no', 'there is no such user'),
  member_unknown: nothing(404, 'no', 'the user is no member of the app'),
  last_admin: nothing(409, 'no', 'the cluster would be left without an admin'),
  node_unknown: nothing(404, 'no', 'there is no such node'),
  node_name_taken: nothing(409, 'no', 'another node has the name'),
  node_removed: nothing(409, 'no', 'the node was removed: join again with an invite and a fresh data directory'),
  last_node: nothing(409, 'no', 'the cluster would be left without a node'),
  invite_exists: nothing(409, 'no', 'the invite is there already'),
  invite_unknown: nothing(404, 'no', 'there is no such invite'),
  invite_unreadable: nothing(400, 'no', 'the text is no invite, or not all of it'),
  invite_expired: nothing(400, 'no', 'the invite has expired: make a new one'),
  invite_used_up: nothing(400, 'no', 'the invite was used as often as it may be: make a new one'),
  not_replicated: perhaps(503, 'the change is kept on this node, but no other member has confirmed it in time'),
  droplet_not_replicated: nothing(503, 'later', 'too few nodes could take a copy of the droplet'),

  // Secrets
  secret_unreadable: nothing(503, 'elsewhere', 'this node cannot open a secret: it lacks a key, or it was damaged'),
  no_cluster_key: nothing(503, 'later', 'the cluster has no key to seal secrets with yet'),

  // Services and volumes
  kind_unknown: nothing(404, 'no', 'there is no kind of service of the name'),
  plan_unknown: nothing(404, 'no', 'the kind of service has no plan of the name'),
  version_unknown: nothing(404, 'no', 'no living node has the engine in the version'),
  no_node_for_data: nothing(503, 'later', 'no node can take the data; the message says why each cannot'),
  service_exists: nothing(409, 'no', 'the name is taken by another service'),
  service_unknown: nothing(404, 'no', 'there is no such service'),
  service_bound: nothing(409, 'no', 'apps are bound to the service: unbind them first'),
  service_provided: nothing(409, 'no', 'the service was provided: nothing of it runs here'),
  address_taken: nothing(409, 'later', 'another service was given the address meanwhile'),
  already_bound: nothing(409, 'no', 'the app is bound to the service already'),
  not_bound: nothing(404, 'no', 'the app is not bound to the service'),
  already_exported: nothing(409, 'no', 'the service is exported already, or another one is at the port'),
  not_exported: nothing(404, 'no', 'the service is not exported'),
  export_failed: nothing(409, 'no', 'the node cannot listen at the address; the message says why'),
  volume_exists: nothing(409, 'no', 'the instance has a volume at the path already'),
  volume_unknown: nothing(404, 'no', 'there is no such volume'),
  volume_in_use: nothing(409, 'no', 'an instance mounts the volume, or is to, or it is here already'),
  volume_moving: nothing(409, 'later', 'the volume is being moved'),
  move_called_off: nothing(409, 'later', 'what had changed could not be brought: all is where it was, and runs there'),
  data_stranded: nothing(409, 'no', 'the node has data that would be out of reach: move it first, or say so'),
  node_has_data: nothing(409, 'no', 'the node that has the data is alive'),
  no_upgrade: nothing(409, 'no', 'no upgrade of the service waits to be confirmed or reverted'),
  upgrade_unconfirmed: nothing(409, 'no', 'an upgrade of the service waits to be confirmed or reverted'),

  // Backups
  backup_unknown: nothing(404, 'no', 'no node that answers holds such a backup'),
  backup_unproven: nothing(409, 'no', 'the newest backup was not proven: it is taken when it is named by its id'),
  outside_window: nothing(422, 'no', 'the service cannot be restored to that moment; the message says to which it can'),
  backup_unusable: nothing(422, 'no', 'it is no backup of such a service, or is damaged, or could not be restored'),
  nothing_to_back_up: nothing(409, 'no', 'the kind of service keeps nothing'),
  service_not_ready: nothing(409, 'later', 'the service does not run now'),
  service_busy: nothing(409, 'later', 'a backup of the service is being taken or put back'),
  service_command_failed: nothing(502, 'later', "the engine's own tool failed; the message has what it said"),

  // Staging
  no_buildpack: nothing(422, 'no', 'no buildpack recognises the app'),
  empty_folder: nothing(422, 'no', 'the upload holds no file'),
  bad_archive: nothing(422, 'no', 'the upload is no archive, is cut off, or holds what is not allowed'),
  compile_failed: nothing(422, 'no', 'a buildpack ended with an error: see the end of its output'),
  supply_failed: nothing(422, 'no', "a buildpack's bin/supply ended with an error"),
  finalize_failed: nothing(422, 'no', "a buildpack's bin/finalize ended with an error"),
  release_failed: nothing(422, 'no', "a buildpack's bin/release ended with an error"),
  release_not_yaml: nothing(422, 'no', "a buildpack's bin/release said no YAML"),
  procfile_invalid: nothing(422, 'no', 'the Procfile cannot be read'),
  app_json_invalid: nothing(422, 'no', 'app.json cannot be read'),
  build_failed: nothing(422, 'no', 'the build ended with an error: see the end of its output'),
  buildpack_invalid: nothing(422, 'no', 'a buildpack does not keep to its interface'),
  buildpack_unknown: nothing(404, 'no', 'there is no buildpack of the name'),
  buildpack_fetch_failed: nothing(422, 'later', 'a buildpack could not be fetched'),
  no_start_command: nothing(422, 'no', 'nothing says how to start the app'),
  time_limit: nothing(422, 'no', 'the build took longer than it may'),
  out_of_memory: nothing(422, 'no', 'the build needed more memory than it may'),
  droplet_failed: nothing(503, 'later', 'the droplet could not be packed'),
  no_engine: nothing(503, 'elsewhere', 'this node has no container engine'),
  engine_missing: nothing(503, 'elsewhere', 'no container engine was found'),
  engine_unusable: nothing(503, 'elsewhere', 'the container engine cannot be used'),
  image_unknown: nothing(404, 'no', 'the engine has no such image'),
  image_too_large: nothing(413, 'no', 'the image is larger than a blob may be'),

  // This node's disk, and content
  no_room: nothing(507, 'elsewhere', 'this node is short of what storing or staging needs'),
  disk_full: nothing(507, 'elsewhere', 'the disk of this node is full'),
  over_budget: nothing(507, 'elsewhere', 'it does not fit into what this node may use for blobs'),
  disk_failed: nothing(503, 'elsewhere', 'the disk of this node failed'),
  corrupt: nothing(400, 'later', 'the content is not what its digest promised'),
  bad_digest: nothing(400, 'no', 'the text is no digest'),
  not_held: nothing(409, 'later', 'the node does not have all of the content (any more): send it again'),
  unavailable: nothing(503, 'later', 'no node that holds it delivered it'),
  droplet_missing: nothing(503, 'later', 'the droplet is not on this node'),
  droplet_unpack_failed: nothing(503, 'later', 'the droplet could not be unpacked'),

  // Volumes
  volume_missing: nothing(404, 'no', 'there is no such volume on this node'),
  volume_busy: nothing(409, 'later', 'an instance has the volume mounted, or it is here already'),
  other_lineage: nothing(409, 'no', 'the volume is on this node with another history than the one that is asked for'),
  no_hard_quota: nothing(503, 'elsewhere', 'the node cannot give a volume a disk of its own'),
  volume_unavailable: nothing(503, 'later', 'a volume of the instance cannot be had on this node now'),
  volume_unmountable: nothing(422, 'no', 'what the app has where its volume is to be is in the way'),
  service_unusable: nothing(503, 'elsewhere', 'the service cannot be run on this node'),
  bad_snapshot: nothing(400, 'no', 'the content is none that a snapshot of a volume holds'),
  snapshot_failed: nothing(503, 'later', 'a volume could not be read or packed for a snapshot'),
  not_frozen: nothing(503, 'later', 'an instance could not be held still for a snapshot'),

  // Commands in instances and tasks
  instance_not_found: nothing(404, 'no', 'the slot has no running instance'),
  not_running: nothing(409, 'later', 'the instance is not running (any more)'),
  no_release: nothing(409, 'no', 'the app has no release to run'),
  session_ended: nothing(409, 'no', 'the session that the connection belongs to has ended'),
  no_node_for_task: nothing(503, 'later', 'no node has room for the task'),

  // This node, and others
  busy: nothing(503, 'later', 'as much of it is under way as may be'),
  aborted: nothing(503, 'later', 'whoever asked gave up, or the node stops'),
  broken: nothing(503, 'elsewhere', 'a write to the disk could not be undone: restart the node'),
  closed: nothing(503, 'later', 'the node stops, or a connection ended'),
  unreachable: nothing(503, 'later', 'another node cannot be reached'),
  timeout: perhaps(504, 'another node did not answer in time'),
  late: nothing(503, 'later', 'the other node stood still for longer than whoever asked waits'),
  protocol: nothing(502, 'no', 'another node said what it must not'),
  unknown_method: nothing(502, 'no', 'another node does not know the request: an older version'),
  bad_message: nothing(502, 'no', 'another node sent what is no change'),
  blob_missing: nothing(503, 'later', 'another node does not hold the content'),
  blob_unavailable: nothing(503, 'later', 'no node delivered the content whole'),
  no_free_port: nothing(503, 'elsewhere', 'this node has no free port for instances'),
  no_free_user: nothing(503, 'elsewhere', 'this node has no free user for sandboxes'),
  no_free_network: nothing(503, 'elsewhere', 'this node has no free network for instances'),
  spawn_failed: nothing(503, 'later', 'the operating system refused a process'),
  sandbox_missing: nothing(503, 'elsewhere', 'this machine lacks what sandboxes need'),
  sandbox_unusable: nothing(503, 'elsewhere', 'this machine does not let sandboxes work'),
  device_damaged: nothing(503, 'elsewhere', 'a device of this machine, such as /dev/null, is not what its name says'),

  // A start
  bad_options: { ...wrong('an option of `peer start` is not as it should be'), status: undefined },
  api_listen: nothing(undefined, 'no', 'the API cannot listen'),
  identity_unreadable: nothing(undefined, 'no', "the node's key cannot be read"),
  identity_locked: nothing(undefined, 'no', "the node's key is under a passphrase, and none or another was given"),
  join_failed: nothing(undefined, 'later', 'no member of the invite let the node in, or none could be reached'),
  in_use: nothing(undefined, 'later', 'another daemon runs on the data directory'),
  unusable: nothing(undefined, 'no', 'the data directory cannot be used'),
  newer_version: nothing(undefined, 'no', 'the data directory was written by a newer version'),
  other_cluster: nothing(undefined, 'no', "the data directory is another cluster's"),
  damaged: nothing(undefined, 'no', 'a part of the data directory is lost'),
  missing: nothing(undefined, 'no', 'the data directory holds no desired state'),
  exists: nothing(undefined, 'no', 'the data directory holds a desired state already'),
  port_in_use: nothing(undefined, 'no', 'another program uses the port'),
  address_unavailable: nothing(undefined, 'no', 'the machine does not have the address'),
  listen_failed: nothing(undefined, 'no', 'the router cannot listen'),
  bad_address: nothing(undefined, 'no', 'the text is no HOST:PORT'),
  start_failed: nothing(undefined, 'later', "the router's process ended or stayed silent"),
  gave_up: nothing(undefined, 'no', "the router's process crashed too often"),
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERRORS;

export const entryOf = (code: string): ErrorEntry | undefined =>
  Object.hasOwn(ERRORS, code) ? ERRORS[code as ErrorCode] : undefined;
