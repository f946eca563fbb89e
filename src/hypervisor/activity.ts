/** What a virtual CPU is about. */
export const Activity = {
  RUNNING: 0,
  /** HLT, until an interrupt comes. */
  HALTED: 1,
  /** After INIT, or not started yet: until a STARTUP message. */
  WAIT_FOR_SIPI: 2,
  /** AP reset hold of an SEV-ES guest (GHCB specification 4.3.1): until a STARTUP message. */
  RESET_HOLD: 3,
} as const;
export type Activity = (typeof Activity)[keyof typeof Activity];
