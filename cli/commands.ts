// Every command of the CLI: how it is written, and what it does in a few words. What each does is in commands/.

import { settingOption } from './setting-option.ts';

export type OptionSpec = {
  /** In cac's notation: `<X>` takes a value. */
  flags: string;
  summary: string;
  /** May be given several times. */
  many?: true;
};

export type CommandSpec = {
  /** Name and arguments in cac's notation. */
  usage: string;
  summary: string;
  options: readonly OptionSpec[];
  /** First words that it takes, for completion. */
  actions?: readonly string[];
};

export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  { flags: '--json', summary: 'Print one JSON document on stdout, nothing else' },
  { flags: '--api <URL>', summary: 'API of a node (else PEER_API, else the one of peer start or peer login)' },
  { flags: '--token <T>', summary: 'Token, which ps shows to others (else PEER_TOKEN, else of peer start or login)' },
  { flags: '-h, --help', summary: 'Print the help of a command' },
];

const dataDir: OptionSpec = { flags: '--data-dir <D>', summary: 'Data directory of the node (~/.local/share/peer)' };
const follow: OptionSpec = { flags: '-f, --follow', summary: 'Go on until Ctrl-C' };
const memory = settingOption('memoryBytes');
const noWait: OptionSpec = { flags: '--no-wait', summary: 'Return at once, not when it runs' };
const bindAs: OptionSpec = {
  flags: '--as <PREFIX>',
  summary: 'In front of the names of its variables, for two of a kind',
};
const volume: OptionSpec = {
  flags: '--volume </PATH[:SIZE]>',
  summary: 'Folder that outlives instances, one for each (1G)',
  many: true,
};
const schedule: readonly OptionSpec[] = [
  { flags: '--snapshot <TIME>', summary: 'Take a snapshot of the volume so often, such as 1h; or never' },
  { flags: '--keep <N>', summary: 'How many snapshots of it are kept' },
  {
    flags: '--on-loss <WHAT>',
    summary: 'When its node is lost: wait for it, or restore the newest snapshot elsewhere (wait)',
  },
];

const withData: readonly OptionSpec[] = [
  { flags: '--with-data', summary: 'Move the data of services and volumes to other nodes first' },
  { flags: '--strand', summary: 'Leave it there, out of reach of the others' },
];

const hardQuota: OptionSpec = {
  flags: '--hard-quota',
  summary: 'Give it a disk of its own, which takes its whole size at once and ends there',
};

export const COMMANDS: readonly CommandSpec[] = [
  {
    usage: 'start',
    summary: 'Start a node on this machine: of a new cluster, or with --join of an existing one',
    options: [
      dataDir,
      { flags: '--name <N>', summary: "Name of the node (the host's)" },
      { flags: '--join <FROM>', summary: 'Join with the invite from stdin (-) or a file (@FILE); else PEER_INVITE' },
      { flags: '--listen <HOST:PORT>', summary: 'Where other nodes connect (0.0.0.0:7601)' },
      { flags: '--link <HOST:PORT>', summary: "Where other nodes' requests for apps arrive (0.0.0.0:7602)" },
      { flags: '--api <HOST:PORT>', summary: 'Where the API listens (127.0.0.1:7600)' },
      { flags: '--http <HOST:PORT>', summary: 'Where apps are served (0.0.0.0:8080)' },
      { flags: '--advertise <HOST>', summary: 'Host that other nodes reach this one at' },
      { flags: '--runtime <R>', summary: 'auto, docker or process (auto)' },
      { flags: '--memory <M>', summary: 'Memory for instances, such as 2G' },
      { flags: '--blobs <B>', summary: 'Disk for droplets, sources and build caches, such as 10G (half of it)' },
      { flags: '--domain <DOMAIN>', summary: 'Domain of new routes, of a new cluster (localhost)' },
      { flags: '--label <K=V>', summary: 'Label of the node', many: true },
      {
        flags: '--allow-network <CIDR>',
        summary: 'Private network that apps may reach, such as 192.168.1.0/24',
        many: true,
      },
      { flags: '--insecure-process-runtime', summary: 'Run apps without a sandbox where there is no bubblewrap' },
      { flags: '--unlock <FROM>', summary: "Passphrase of the node's key: prompt, file:PATH or credential:NAME" },
      { flags: '--detach', summary: 'Return when the node is ready' },
    ],
  },
  { usage: 'stop', summary: 'Stop the node', options: [dataDir] },
  {
    usage: 'leave',
    summary: 'Drain the node, then stop it for good',
    options: [dataDir, ...withData],
  },
  {
    usage: 'status',
    summary: 'Show the node and its cluster',
    options: [],
  },
  {
    usage: 'invite',
    summary: 'Make an invite for new nodes',
    options: [
      { flags: '--ttl <TIME>', summary: 'How long it is good for (1h)' },
      { flags: '--uses <N>', summary: 'How many nodes may use it (1)' },
    ],
  },
  {
    usage: 'nodes [action] [node] [...labels]',
    summary: 'List nodes; drain|undrain|remove|data NODE, label NODE K=V…',
    options: [...withData, { flags: '--yes', summary: 'remove: do not ask before, as with --strand' }],
    actions: ['drain', 'undrain', 'remove', 'data', 'label'],
  },
  {
    usage: 'push [dir]',
    summary: 'Push a folder, or the apps of its manifest.yml: stage, release, start',
    options: [
      { flags: '--name <APP>', summary: "Name of the app (the folder's); of several in a manifest, the one to push" },
      { flags: '-f, --manifest <FILE>', summary: "A manifest or a Compose file (the folder's manifest.yml)" },
      { flags: '--no-manifest', summary: "Ignore the folder's manifest.yml" },
      { flags: '--verbose', summary: 'Say what of the folder is left out' },
      { flags: '--var <K=V>', summary: 'Value of a ((variable)) of the manifest', many: true },
      { flags: '--vars-file <FILE>', summary: 'YAML file with values of ((variables))', many: true },
      { flags: '--instances <N>', summary: 'How many instances' },
      memory,
      settingOption('diskBytes'),
      {
        flags: '--buildpack <B>',
        summary: 'Built-in name, folder or .tgz, its URL, or git URL with optional #REF',
        many: true,
      },
      { flags: '--image <REF>', summary: "Push an image of the node's container engine instead of a folder" },
      { flags: '--command <CMD>', summary: 'Start command of the web process' },
      { flags: '--route <HOST[/PATH]>', summary: 'Route instead of NAME.DOMAIN', many: true },
      { flags: '--random-route', summary: 'Default route with a suffix that no other app has' },
      { flags: '--no-route', summary: 'No route' },
      { flags: '--port <N>', summary: 'Where each instance listens, told as PORT; else 8080, or where it is found to' },
      { flags: '--env <K=V>', summary: 'Environment variable; K=@FILE, K=- and K alone read the value', many: true },
      { flags: '--health <CHECK>', summary: 'port, http:/PATH or process (port)' },
      { flags: '--timeout <TIME>', summary: 'How long an instance may take to become healthy (60s)' },
      settingOption('strategy'),
      settingOption('partition'),
      settingOption('maxUnavailable'),
      settingOption('maxSurge'),
      volume,
      ...schedule,
      hardQuota,
      { flags: '--image-volumes', summary: 'Make volumes of what the image declares as volumes; else it is in memory' },
      { flags: '--create-services', summary: 'Make services of the manifest that are named like their kind' },
      { flags: '--no-start', summary: 'Release it, but do not start it' },
    ],
  },
  {
    usage: 'apps [action] [app] [user]',
    summary:
      'List apps; share|unshare APP USER, give APP USER: its team (every developer, until peer users isolate on)',
    options: [],
    actions: ['share', 'unshare', 'give'],
  },
  {
    usage: 'app <app>',
    summary: 'Show an app and its instances',
    options: [],
  },
  {
    usage: 'scale <app> [...counts]',
    summary: 'Set the number of instances ([web=]N …), or their memory',
    options: [memory, volume],
  },
  {
    usage: 'restart <app>',
    summary: 'Restart an app, one instance after the other; APP/INDEX restarts one',
    options: [],
  },
  {
    usage: 'stop-app <app>',
    summary: 'Stop all instances of an app',
    options: [],
  },
  {
    usage: 'start-app <app>',
    summary: 'Start an app that was stopped',
    options: [],
  },
  {
    usage: 'delete <app>',
    summary: 'Delete an app, its routes and its releases; its volumes are kept',
    options: [
      { flags: '--volumes', summary: 'Delete its volumes too, with all that is in them' },
      { flags: '--yes', summary: 'Do not ask' },
    ],
  },
  {
    usage: 'releases <app>',
    summary: "List an app's releases",
    options: [],
  },
  {
    usage: 'rollback <app> [release]',
    summary: 'Go back to an earlier release (the last good one)',
    options: [],
  },
  {
    usage: 'env [action] [app] [...variables]',
    summary: "Show an app's environment; set APP K=V… (K=@FILE, K=-, K: read it), unset APP K…",
    options: [{ flags: '--show', summary: 'Show the values too' }],
    actions: ['set', 'unset'],
  },
  {
    usage: 'routes [action] [host] [app]',
    summary: 'List routes; share|unshare HOST APP: may another app have routes on the host of one',
    options: [],
    actions: ['share', 'unshare'],
  },
  { usage: 'map <app> <route>', summary: 'Give an app a route', options: [] },
  {
    usage: 'unmap <app> <route>',
    summary: 'Take a route from an app',
    options: [],
  },
  {
    usage: 'services [action]',
    summary: 'List services; kinds: what there is, with plans and the nodes that can run it',
    options: [],
    actions: ['kinds'],
  },
  {
    usage: 'service <action> [service] [app] [file] [...args]',
    summary:
      'create KIND NAME; provide NAME (credentials of your own); status|configure|stop|start|restart|delete NAME; bind|unbind NAME APP; connect NAME [-- ARGS], connect NAME --tunnel [PORT]; export NAME HOST:PORT, export NAME --stop; backup NAME; backups [NAME]; restore NAME BACKUP|newest, or --at TIME; move NAME --to NODE; recover NAME; upgrade NAME --version V; download NAME BACKUP|newest FILE|-; upload NAME FILE|-',
    options: [
      { flags: '--plan <P>', summary: 'small, medium or large (small)' },
      { flags: '--version <V>', summary: 'Version of the engine (the newest that a node has)' },
      { flags: '--memory <M>', summary: "Memory, instead of the plan's" },
      { flags: '--storage <S>', summary: "Storage, instead of the plan's" },
      { flags: '--node <NODE>', summary: 'Node that its data is on; export: that listens (the same)' },
      { flags: '--stop', summary: 'export: close it' },
      { flags: '--certificate <FILE>', summary: 'export: write what clients are to trust' },
      { flags: '--backup-every <TIME>', summary: 'How often it is backed up, or never (24h)' },
      { flags: '--keep <N>', summary: 'How many backups are kept (7)' },
      { flags: '--wal', summary: 'Keep its log of changes too, for restore --at (postgres)' },
      { flags: '--without-wal', summary: 'configure: keep it no longer' },
      { flags: '--at <TIME>', summary: 'restore: as it was then: 2026-01-31T12:00:00Z, or 10m for ten minutes ago' },
      { flags: '--credentials <FROM>', summary: 'JSON: @FILE, - for stdin; asked for without it' },
      { flags: '--as <NAME>', summary: 'bind: in front of the names of its variables; restore: into a new service' },
      { flags: '--tunnel', summary: 'connect: no client, but a port of this machine (any, or PORT)' },
      { flags: '--rotate', summary: 'New credentials for an app that is bound' },
      { flags: '--to <NODE>', summary: 'move, recover, upgrade: the node it is to be on' },
      { flags: '--backup <ID>', summary: 'recover: from that one (the newest proven)' },
      { flags: '--confirm', summary: 'upgrade: what was before goes, for good' },
      { flags: '--revert', summary: 'upgrade: what was before takes its place again' },
      { flags: '--yes', summary: 'Do not ask before deleting, restoring, recovering or reverting' },
      noWait,
    ],
    actions: [
      'create',
      'provide',
      'status',
      'configure',
      'stop',
      'start',
      'restart',
      'delete',
      'bind',
      'unbind',
      'connect',
      'export',
      'backup',
      'backups',
      'restore',
      'move',
      'recover',
      'upgrade',
      'download',
      'upload',
    ],
  },
  {
    usage: 'bind <service> <app>',
    summary: 'Give an app credentials of a service, and restart it',
    options: [bindAs, { flags: '--rotate', summary: 'New credentials for an app that is bound' }, noWait],
  },
  {
    usage: 'unbind <service> <app>',
    summary: "End an app's credentials of a service, and restart it",
    options: [noWait],
  },
  {
    usage: 'volumes',
    summary: 'List volumes, those that nothing mounts too',
    options: [{ flags: '--orphans', summary: 'Files on nodes that no volume refers to any more (admins)' }],
  },
  {
    usage: 'volume <action> [volume] [snapshot]',
    summary:
      'snapshot, snapshots, restore, move, recover, configure, path or delete APP/INDEX[:PATH]; restore names a SNAPSHOT; remove-orphan ORPHAN',
    options: [
      { flags: '--to <NODE>', summary: 'move, restore, recover: the node it is to be on' },
      { flags: '--node <NODE>', summary: 'remove-orphan: the node that has it' },
      { flags: '--size <SIZE>', summary: 'configure: how large it may be' },
      ...schedule,
      { flags: '--yes', summary: 'delete, restore, recover, remove-orphan: do not ask before' },
    ],
    actions: ['snapshot', 'snapshots', 'restore', 'move', 'recover', 'configure', 'path', 'delete', 'remove-orphan'],
  },
  {
    usage: 'why <slot>',
    summary: 'Explain which node runs APP/INDEX (or APP/PROCESS/INDEX), and why that one',
    options: [],
  },
  {
    usage: 'what-if',
    summary: 'Show where instances would go without a node; nothing changes',
    options: [{ flags: '--without <NODE>', summary: 'Name or id of a node that would be gone', many: true }],
  },
  {
    usage: 'run <app> [...command]',
    summary:
      "Run a one-off task with an app's code, environment and volumes: peer run APP -- COMMAND; APP/INDEX: with those of that instance (0)",
    options: [
      { flags: '--name <TASK>', summary: 'Name of the task in logs and events' },
      { flags: '--no-volumes', summary: 'Without volumes, so on any node' },
    ],
  },
  {
    usage: 'exec <instance> [...command]',
    summary: "Run a command, or a shell, in the instance APP/INDEX, or an app's only one: peer exec APP/0 -- COMMAND",
    options: [],
  },
  {
    usage: 'logs <app>',
    summary: "Show an app's logs, or a service's",
    options: [follow, { flags: '--lines <N>', summary: 'How many of the last lines (100)' }],
  },
  {
    usage: 'events [app]',
    summary: 'Show what happened in the cluster, or to an app or a service',
    options: [follow, { flags: '--lines <N>', summary: 'How many of the last events (100)' }],
  },
  {
    usage: 'users [action] [name]',
    summary:
      'List users; add NAME --role R, remove NAME; isolate on|off: apps are for their teams, or all developers (off)',
    options: [{ flags: '--role <R>', summary: 'admin, developer or viewer' }],
    actions: ['add', 'remove', 'isolate'],
  },
  {
    usage: 'login <url>',
    summary: 'Use the cluster behind a URL from now on',
    options: [{ flags: '--fingerprint <F>', summary: "SHA-256 fingerprint of the node's certificate" }],
  },
  {
    usage: 'completions <shell>',
    summary: 'Print the completion script for bash, zsh or fish; or the apps, slots or nodes that it offers',
    options: [],
    actions: ['bash', 'zsh', 'fish'],
  },
  { usage: 'help [command]', summary: 'Print this help, or that of a command', options: [] },
  { usage: 'version', summary: 'Print the version', options: [] },
];

export const nameOf = (command: CommandSpec): string => command.usage.split(' ')[0]!;

/** As people write it: `scale APP [COUNTS…]`. */
export function usageOf(spec: CommandSpec): string {
  return spec.usage
    .replace(/[<[](\.\.\.)?([a-z]+)[>\]]/g, (whole, dots: string | undefined, word: string) => {
      const name = word.toUpperCase() + (dots === undefined ? '' : '…');
      return whole.startsWith('<') ? name : `[${name}]`;
    })
    .trim();
}
