// What a node does with a view that others have written: decides, explains, starts, routes, reports, answers and
// shows. Throws, or answers what came out wrong, when it does not take it. Starts nothing.

import { basename, join } from 'node:path';
import picocolors from 'picocolors';
import { appText, withUsage } from '../../cli/commands/app.ts';
import { appsTable } from '../../cli/commands/apps.ts';
import { nodesTable } from '../../cli/commands/nodes.ts';
import { releasesTable } from '../../cli/commands/releases.ts';
import { statusText } from '../../cli/commands/status.ts';
import { whatIfText } from '../../cli/commands/what-if.ts';
import { whyText } from '../../cli/commands/why.ts';
import { formatEvent } from '../../cli/log-format.ts';
import { asNodeId, type NodeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import { whatIfShape, whyShape } from '../../node/api/explaining.ts';
import {
  appShape,
  appSummaryShape,
  nodeShapes,
  releaseShape,
  routeShapes,
  statusShape,
  urlsOf,
  userShape,
} from '../../node/api/shaping.ts';
import { RecordReporter } from '../../node/cluster/record-reporter.ts';
import { candidatesOf } from '../../node/core/candidates.ts';
import { explainSlot, whatIf } from '../../node/core/explain.ts';
import { slotsOf } from '../../node/core/slots.ts';
import { type CoreState, initialState } from '../../node/core/state.ts';
import { step } from '../../node/core/step.ts';
import type { ClusterEvent, Effect, Event, InstanceSpec, Report, RouteTable } from '../../node/core/types.ts';
import { checkMembership, checkReport } from '../../node/gossip/messages.ts';
import type { MemberView, NodeService, ObservedView } from '../../node/ports/node-service.ts';
import { findRoute, hostOf, indexRoutes } from '../../node/router/lookup.ts';
import { dropletContainer, imageContainer } from '../../node/runtime/docker/container.ts';
import { readRecord } from '../../node/runtime/docker/labels.ts';
import { instanceEnvironment } from '../../node/runtime/environment.ts';
import { InstanceFolder, type InstanceRecord } from '../../node/runtime/instance-folder.ts';
import { DROPLET_LINKS, instanceLimits } from '../../node/runtime/process/launch.ts';
import { accountFiles } from '../../node/runtime/sandbox/bwrap.ts';
import { confinedCommand, type Isolation } from '../../node/runtime/sandbox/confinement.ts';
import { encodeLoad, startCommand } from '../../node/runtime/sandbox/scripts.ts';
import { selfInfo } from '../core/little-cluster.ts';
import { node } from '../crdt/fixtures.ts';
import { reportOf } from '../gossip/fixtures.ts';
import type { Prng } from '../sim/prng.ts';
import { brokenRules } from './view-rules.ts';

const GIB = 1024 ** 3;
/** Slots that are explained of one document: each is a placement of its own. */
const EXPLAINED_MAX = 1;
/** Instances that are brought all the way to their command line. */
const LAUNCHED_MAX = 12;
const self = node(1);
const output = { colours: picocolors.createColors(false), width: 100 };
const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

class Wrong extends Error {}

function expectThat(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Wrong(what);
}

/** Throws when something does not take the view. `before` is what the node held until then. */
export function survive(views: { before: DesiredView; view: DesiredView }, prng: Prng): void {
  const { before, view } = views;
  const broken = brokenRules(view);
  expectThat(broken.length === 0, `the view breaks its rules: ${broken.slice(0, 3).join('; ')}`);
  const machine = new Machine(prng);
  machine.take({ type: 'instancesAdopted', instances: [] });
  machine.take({ type: 'desiredChanged', view: before, heads: ['a'] });
  machine.hear(before);
  machine.take({ type: 'desiredChanged', view, heads: ['b'] });
  machine.hear(view);
  machine.run(view);
  tell(view, machine, prng);
}

/** One node without its edges: every effect is taken as far as it goes without starting anything. */
class Machine {
  readonly events: ClusterEvent[] = [];
  table: RouteTable | undefined;
  report: Report | undefined;
  state: CoreState;
  nowMs = 1_000;
  readonly #prng: Prng;
  readonly #answers: Event[] = [];
  readonly #incarnations = new Map<NodeId, number>();
  #launched = 0;

  constructor(prng: Prng) {
    this.#prng = prng;
    const info = selfInfo(self, { stacks: ['peer-1'], runtimes: ['docker'], memoryBytes: 8 * GIB, link: '10.0.0.1:1' });
    this.state = initialState({ self: info, incarnation: 1, nowMs: this.nowMs });
  }

  take(event: Event): void {
    this.#answers.push(event);
    for (let next = this.#answers.shift(); next !== undefined; next = this.#answers.shift()) {
      const result = step(this.state, next, this.nowMs);
      this.state = result.state;
      for (const effect of result.effects) this.#carryOut(effect);
    }
  }

  /** Reports of the others, that run what the view asks for and more. */
  hear(view: DesiredView): void {
    for (const id of [...view.nodes.keys()].filter((one) => one !== self).slice(0, 3)) {
      const sequence = (this.#incarnations.get(id) ?? 0) + 1;
      this.#incarnations.set(id, sequence);
      const report = reportOf(id, sequence, {
        stacks: ['peer-1'],
        runtimes: ['docker'],
        memoryBytes: 4 * GIB,
        link: '10.0.0.2:7602',
        instances: this.#instancesOf(view, id),
        droplets: [...view.apps.values()]
          .flatMap(({ releases }) => releases.map(({ droplet }) => droplet.digest))
          .sort(),
      });
      const decoded = checkReport(report);
      expectThat(decoded.ok, `a report of what the view asks for is refused: ${decoded.ok ? '' : decoded.reason}`);
      this.take({ type: 'connected', node: id });
      this.take({ type: 'reportReceived', report: decoded.value });
      const odd = checkReport(oddReport(report, this.#prng));
      if (odd.ok) this.take({ type: 'reportReceived', report: odd.value });
    }
  }

  #instancesOf(view: DesiredView, id: NodeId): Report['instances'] {
    const instances: Report['instances'] = [];
    for (const app of view.apps.values()) {
      for (const slot of slotsOf(app).slice(0, 4)) {
        if (app.release === undefined || this.#prng.chance(0.5)) continue;
        instances.push({
          id: `${basename(id).slice(-5).toLowerCase()}-1-${instances.length + 1}` as never,
          ...slot,
          release: app.release.id,
          restartCount: app.restartCount,
          state: this.#prng.pick(['starting', 'ready', 'ready', 'crashed', 'stopping', 'unhealthy']),
          sinceMs: 1_000,
          crashes: this.#prng.between(0, 4),
          memoryBytes: app.memoryBytes,
          port: 8080,
        });
      }
    }
    return instances;
  }

  /** Some time passes; what was started becomes ready, or crashes. */
  run(view: DesiredView): void {
    for (let turn = 0; turn < 4; turn++) {
      this.nowMs += this.#prng.pick([50, 1_000, 5_000]);
      this.take({ type: 'tick', lateMs: 0 });
      for (const { id, state, phase } of [...this.state.local.values()].slice(0, LAUNCHED_MAX)) {
        if (phase !== 'launched') continue;
        if (state === 'stopping') this.take({ type: 'instanceExited', id, reason: 'stopped' });
        else if (this.#prng.chance(0.7)) {
          this.take({ type: 'instanceLaunched', id, port: 8080, host: '10.1.0.1' });
          this.take({ type: 'instanceReady', id });
        } else this.take({ type: 'instanceExited', id, reason: 'x'.repeat(this.#prng.pick([1, 5_000])) });
      }
    }
    if (view.nodes.has(self)) expectThat(this.report !== undefined, 'the node never reported');
  }

  #carryOut(effect: Effect): void {
    switch (effect.type) {
      case 'startInstance':
        if (this.#launched++ < LAUNCHED_MAX) launch(effect.spec);
        break;
      case 'fetchDroplet':
        this.#answers.push({ type: 'dropletsHeld', digests: [...this.state.droplets, effect.digest] });
        break;
      case 'publishReport': {
        const decoded = checkReport(JSON.parse(JSON.stringify(effect.report)));
        expectThat(decoded.ok, `others refuse the report of this node: ${decoded.ok ? '' : decoded.reason}`);
        this.report = effect.report;
        break;
      }
      case 'publishMembership': {
        const decoded = checkMembership(effect.message);
        expectThat(decoded.ok, `others refuse a membership message: ${decoded.ok ? '' : decoded.reason}`);
        break;
      }
      case 'setRoutes':
        this.table = structuredClone(effect.table);
        route(this.table);
        break;
      case 'recordEvent':
        this.events.push(effect.event);
        break;
      default:
        break;
    }
  }
}

const ODD = [null, true, -1, 0, 0.5, 1e300, '', 'x:y', '../x', '__proto__', 'constructor', 'a\r\nb', '\ud800', [], {}];

/** The next report of the node, with some fields of it, or of its instances, as they should not be. */
function oddReport(report: Report, prng: Prng): object {
  const odd = JSON.parse(JSON.stringify({ ...report, sequence: report.sequence + 1_000 })) as Record<string, unknown>;
  for (let things = prng.between(1, 3); things > 0; things--) {
    const instances = odd.instances as Record<string, unknown>[];
    const map = Array.isArray(instances) && instances.length > 0 && prng.chance(0.6) ? prng.pick(instances) : odd;
    if (typeof map !== 'object' || map === null) continue;
    map[prng.pick([...Object.keys(map), 'offered', 'vacates', 'covers', 'reason'])] = prng.pick(ODD);
  }
  return odd;
}

function route({ routes }: RouteTable): void {
  const index = indexRoutes(routes);
  for (const entry of routes.slice(0, 5)) {
    const [host = '', ...path] = entry.route.split('/');
    const found = findRoute(index, hostOf(host.replace('*', 'any')), `/${path.join('/')}`);
    expectThat(found !== undefined, `a request for ${entry.route} is not led there`);
    for (const upstream of entry.upstreams) expectThat(upstream.app === entry.app, 'a route leads to another app');
  }
}

const isolation = {
  dataDir: '/var/lib/peer',
  bwrap: '/usr/bin/bwrap',
  host: { links: [{ path: '/bin', target: 'usr/bin' }], folders: [], etc: ['ssl'], nodeBin: '/opt/node/bin' },
  filter: '/var/lib/peer/seccomp.bpf',
  groups: undefined,
  ownDisks: true,
  networks: undefined,
  ownUsers: true,
  log,
} as unknown as Isolation;

/** From the effect to the command lines of both runtimes. */
function launch(spec: InstanceSpec): void {
  const folder = new InstanceFolder(isolation.dataDir, spec.id);
  for (const id of [spec.app.id, spec.release.id]) {
    // Folders of logs and caches, labels, names of networks.
    expectThat(
      join('/logs', id) === `/logs/${id}` && basename(id) === id && !id.startsWith('.'),
      `${id} is no file name`,
    );
  }
  const { id, app, process, index, release, restartCount, memoryBytes, diskBytes, health } = spec;
  const record: InstanceRecord = {
    version: 1,
    ...{ id, app, process, index, release, restartCount, memoryBytes, diskBytes, health },
    port: 8080,
    uid: 70_000,
    boot: 'boot',
  };
  const env = instanceEnvironment(spec, {
    port: 8080,
    host: '127.0.0.1',
    home: '/home/vcap',
    nodeBin: '/opt/node/bin',
  });
  const load = encodeLoad({ cwd: '/home/vcap/app', argv: startCommand(spec.command), env });
  const words = load.toString().split('\0');
  expectThat(words.includes(spec.command.split('\0')[0]!), 'the command does not reach the instance');
  expectThat(env.PORT === '8080' && env.VCAP_APPLICATION !== undefined, 'the instance is not told where it is');
  const user = { kind: 'dropped', uid: record.uid } as const;
  const command = confinedCommand(isolation, {
    user,
    hostname: app.name,
    accounts: folder.accounts,
    binds: [{ from: folder.home, to: '/home/vcap', writable: true }],
    links: DROPLET_LINKS,
    memoryBytes,
    network: undefined,
    limits: instanceLimits(diskBytes, true),
  });
  for (const word of command) {
    expectThat(
      typeof word === 'string' && !/\0|NaN|undefined|Infinity/.test(word),
      `an argument is ${JSON.stringify(word)}`,
    );
  }
  for (const text of Object.values(accountFiles({ user, hostname: app.name }))) {
    expectThat(text.split('\n').length <= 4, 'an account file has lines of its own');
  }
  const base = { node: self, record, network: 'net', env, callFilter: undefined, ownDisk: true };
  const plan = { ...base, hosts: [], volumes: [] };
  const paths = { home: folder.home, accounts: folder.accounts, nodeBin: '/opt/node/bin' };
  const container = dropletContainer({ ...plan, ...paths, image: 'stack', command: spec.command });
  const back = readRecord(container.Labels ?? {});
  expectThat(JSON.stringify(back) === JSON.stringify(record), 'the record of a container does not come back');
  const image = { Id: spec.image?.id ?? 'x', Config: {} } as never;
  JSON.stringify(imageContainer({ ...plan, image, command: undefined, root: undefined }));
}

/** What people see: shapes of the API, and text of the command line. */
function tell(view: DesiredView, machine: Machine, prng: Prng): void {
  const observed = observedBy(machine);
  const texts: string[] = [];
  const apps = [...view.apps.values()];
  const shapes: unknown[] = [routeShapes(view), [...view.users.values()].map((user) => userShape(user, view))];
  const nodes = nodeShapes(view, observed);
  texts.push(
    nodesTable(nodes, output),
    appsTable(
      apps.map((one) => appSummaryShape(one, observed)),
      output,
    ),
  );
  for (const app of apps.slice(0, 6)) {
    const shape = appShape(app, view, observed);
    const releases = app.releases.map((release) => releaseShape(release, app));
    texts.push(appText(withUsage(shape, []), output), releasesTable(releases, output));
    for (const url of urlsOf(app.routes, '0.0.0.0:8080')) expectThat(URL.canParse(url), `${url} is no URL`);
    shapes.push(shape, releases);
  }
  const service = {
    self: { id: self, name: 'n1', version: '0', pid: 1, dataDir: '/' },
    view: () => view,
    observed: () => observed,
    blobUsage: () => ({ usedBytes: 0, budgetBytes: 1 }),
  } as unknown as NodeService;
  const user = { name: 'ada', role: 'admin', tokenHash: 'x', createdAtMs: 0 } as const;
  const status = statusShape(service, user);
  texts.push(statusText(status, output));
  const candidates = candidatesOf(machine.state, machine.nowMs);
  for (const app of prng.shuffle(apps).slice(0, EXPLAINED_MAX)) {
    const slot = slotsOf(app)[0] ?? { app: app.id, process: 'constructor', index: 0 };
    const why = whyShape(explainSlot(view, candidates, slot), app, { view, observed, self });
    texts.push(whyText(why, output));
    shapes.push(why);
  }
  const foreseen = whatIfShape(whatIf(view, candidates, [asNodeId(node(2))]), view);
  texts.push(whatIfText(foreseen, output));
  shapes.push(nodes, status, foreseen);
  new RecordReporter({ log, record: (event) => machine.events.push(event) }).look(view);
  for (const event of machine.events.slice(0, 50)) {
    const { name, message } = event;
    texts.push(formatEvent({ ...event, name, message, atMs: 0, node: 'n1' } as never));
  }
  for (const shape of shapes) {
    expectThat(!/:(NaN|undefined)/.test(JSON.stringify(shape)), 'a shape holds what JSON does not');
  }
  for (const text of texts) {
    const plain = text.replaceAll('\n', ' ');
    expectThat(
      !/[\u0000-\u001f\u007f-\u009f]/.test(plain) && plain.isWellFormed(),
      `a text steers the terminal: ${JSON.stringify(text.slice(0, 2_000))}`,
    );
  }
}

function observedBy({ state, report }: Machine): ObservedView {
  const members: MemberView[] = [...(state.desired?.nodes.values() ?? [])].map((one) => {
    const member = state.members.get(one.id);
    return {
      id: one.id,
      name: one.name,
      status: one.id === self ? 'alive' : (member?.status ?? 'dead'),
      draining: one.draining,
      report: one.id === self ? report : member?.report,
      reportAgeMs: 0,
    };
  });
  return { members };
}
