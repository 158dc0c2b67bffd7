// Seeds that once failed, and what each taught. They run in every test run: a lesson is learnt once.

export const PINNED: { seed: number; taught: string }[] = [
  { seed: 1476, taught: 'an anti-entropy exchange that failed was never asked for again' },
  { seed: 1500, taught: 'a start after a refutation reused the incarnation, and with it ids of instances' },
];
