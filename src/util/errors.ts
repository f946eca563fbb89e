// Two kinds of failure, told apart by type: what a person did wrong, and what we did wrong. A guest's fault is neither:
// it is a value.

/** A mistake of the person at the terminal: one line that says what and how to mend it. The command line exits with 2. */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/** A broken invariant of ours. The command line exits with 70 and says what to report. */
export class InternalError extends Error {
  override readonly name = 'InternalError';
}

export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new InternalError(what);
}
