// Time is retired instructions: what one of them takes, for the clocks of devices and for the time-stamp counter.

/** Virtual time of an instruction. */
export const NANOSECONDS = 16;
/** Ticks of the time-stamp counter for an instruction: 2 GHz. */
export const TICKS = 32;

/** Whole instructions from a time in instructions to a deadline in nanoseconds; at least one. */
export const instructionsUntil = (deadline: number, time: number): number => Math.max(1, Math.ceil(deadline / NANOSECONDS - time));
