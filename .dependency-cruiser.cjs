// Which way imports may point: main → agent, edges → core → crdt types. Run by `npm run imports`, a part of the tests.

const edges = ['api', 'blobs', 'gossip', 'router', 'runtime', 'services', 'staging'];

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'core-is-pure',
      comment: 'The core imports nothing but itself and the types and views of crdt.',
      severity: 'error',
      from: { path: '^node/core/' },
      to: { pathNot: '^(node/core/|crdt/(ids|schema|view)\\.ts$)' },
    },
    {
      name: 'crdt-stands-alone',
      severity: 'error',
      from: { path: '^crdt/' },
      to: { path: '^(node|cli|scripts|test)/' },
    },
    {
      name: 'automerge-only-in-crdt',
      severity: 'error',
      from: { pathNot: '^(crdt|test/crdt|test/sim)/' },
      to: { path: 'node_modules/@automerge/' },
    },
    ...edges.map((edge) => ({
      name: `edge-${edge}-imports-no-other-edge`,
      severity: 'error',
      from: { path: `^node/${edge}/` },
      to: {
        path: `^(node/(${edges.filter((other) => other !== edge).join('|')})/|node/(agent|main)\\.ts$|cli/|scripts/)`,
      },
    })),
    {
      name: 'cli-only-calls-the-api',
      comment:
        'The CLI parses, calls the API and renders. It may use the types of node/api, never its code; and it cuts content as the blob store does; the frames of sessions belong to both.',
      severity: 'error',
      from: { path: '^cli/' },
      to: {
        path: '^(node|crdt)/',
        pathNot: '^node/(blobs/(chunker|limits)|sessions/frames)\\.ts$',
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'product-does-not-import-tests-or-scripts',
      severity: 'error',
      from: { path: '^(node|cli|crdt)/' },
      to: { path: '^(test|scripts)/' },
    },
    { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^test/apps/' },
    tsPreCompilationDeps: true,
    // Packages say in their exports what may be imported; some only export types.
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
    tsConfig: { fileName: 'tsconfig.json' },
  },
};
