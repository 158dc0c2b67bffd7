// Port of sealing: how a secret gets into the desired state, and out of it again. Types only.

export interface SecretKeeper {
  /**
   * The text as it may stand in the document. `context` says whose it is and what, such as `service/<id>`: what was
   * sealed for one opens for no other. The same text sealed for the same context is the same.
   */
  seal(context: string, plain: string): string;
  /** Fails when it was sealed for another context, was changed, or by a key that this node does not have. */
  open(context: string, sealed: string): string;
}
