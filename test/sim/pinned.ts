// Seeds that once failed, and what each taught. They run in every test run: a lesson is learnt once.

/** `data`: with volumes and services; else without, whatever the seed draws. */
export const PINNED: { seed: number; taught: string; data?: true }[] = [
  { seed: 1476, taught: 'an anti-entropy exchange that failed was never asked for again' },
  { seed: 1500, taught: 'a start after a refutation reused the incarnation, and with it ids of instances' },
  { seed: 1117, taught: 'two nodes with different views each gave up the last ready copy for the other one' },
  { seed: 1053, taught: 'two copies of an old release filled both nodes, and neither went for the new one' },
  { seed: 1397, taught: 'a slot without room held up the roll-out of all after it' },
  { seed: 1045, taught: 'placement took a running copy for as large as the app is set to now' },
  { seed: 1159, taught: 'a recreate roll-out waited for an old copy that waited for the new one' },
  { seed: 1378, taught: 'a slot was to move to a node that a copy of it fills already' },
  { seed: 1315, taught: 'two old copies of a slot on one node left no room for the new one' },
  {
    seed: 1577,
    taught: 'a slot that nothing served waited for its turn in a roll-out that could not go on without it',
  },
  { seed: 1539, taught: 'a crashed copy of the new release kept the slot on a node without room' },
  { seed: 1069, taught: 'a slot went to and fro between two nodes after its app was set to less memory' },
  { seed: 1012, taught: 'an instance adopted a moment ago counts as serving' },
  { seed: 600895, taught: 'a draining node that nobody can relieve kept the old and the new copy of a slot' },
  { seed: 601619, taught: 'a promise to the copy beside it made nobody look again' },
  { seed: 600666, taught: 'an app with a slot that no node has room for could never take a new release' },
  {
    seed: 800474,
    taught: 'two nodes, one of which had not heard of the newest release, each took down a slot at a time',
  },
  { seed: 801583, taught: 'a crashed copy kept its slot on a node that no longer had room for it' },
  { seed: 702721, taught: 'a copy that still waited for its droplet kept the memory of a node that had lost the slot' },
  { seed: 901245, taught: 'a frozen node acted on a promise that had been given up when it was held for dead' },
  { seed: 900065, taught: 'an app that keeps crashing held up the moves of all others, until it ran for a moment' },
  { seed: 1000395, taught: 'a slot went to and fro, as what crashed counted for its move and not for the way back' },
  {
    seed: 1000839,
    taught: 'the record of an old copy that crashed beside a new one seemed to need memory: a slot went to and fro',
  },
  { seed: 7000187, taught: 'of two copies adopted on one node, the one that had been told to stop was kept' },
  { seed: 7003696, taught: 'a slot that waited out its crashes without a record of them went elsewhere at once' },
  {
    seed: 8003531,
    taught: 'an old copy filled the room for the new one, which ran on a node that drained and waited for it',
  },
  { seed: 8008106, taught: 'an app that keeps crashing, and its roll-out, moved others each time it ran for a moment' },
  { seed: 9005435, taught: 'of two copies adopted on one node, of two releases, the one still starting was kept' },
  { seed: 10007973, taught: 'an old copy that did not answer for a while was stopped before its replacement ran' },
  { seed: 13004046, taught: 'an offer was withdrawn, and nobody looked again at the copy that had promised for it' },
  {
    seed: 13001083,
    taught: 'a fenced slot that served was moved only when the fencing delay of another death had passed',
  },
  { seed: 14007430, taught: 'a node that had stood still ran its fenced slot on while it looked for the majority' },
  {
    seed: 1796040390,
    taught: 'a change that waits, come along with a whole document, made a node take what it has for unknown',
  },
  {
    seed: 1796038973,
    taught: 'a volume that was to keep more snapshots than before had some on too few nodes for good',
  },
];
