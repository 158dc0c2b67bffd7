// Port of what makes this node a member of a cluster, as its data directory keeps it. Types only.

/** Kept secret, readable by its owner only. */
export type Membership = { format: number; cluster: string; psk: string; operatorToken: string };

export interface MembershipStore {
  /** The data directory, for messages. */
  readonly path: string;
  /** The path of one of its files. */
  file(name: string): string;
  /** Undefined when there is none yet. Fails with an error with the code `damaged` or `newer_version`. */
  readMembership(): Promise<Membership | undefined>;
  writeMembership(membership: Omit<Membership, 'format'>): Promise<void>;
  /** Whether the node has run as a member before. */
  hasLived(): Promise<boolean>;
}
