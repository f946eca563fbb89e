// How an event can go (GHCB specification 4.1): done, an exception for the guest to raise, a malformed request, or the end of the run.

import { EventInj, GhcbReason } from '../../arch/ghcb.ts';
import type { Outcome } from '../outcome.ts';

/** `info2`: SW_EXITINFO2 of the answer; left out: 0. */
export type Answer =
  | { readonly kind: 'done'; readonly info2?: bigint }
  | { readonly kind: 'exception'; readonly eventInj: bigint }
  | { readonly kind: 'malformed'; readonly reason: GhcbReason }
  | { readonly kind: 'end'; readonly outcome: Outcome };

export const done: Answer = { kind: 'done' };

/** #GP with error code 0, in the format of EVENTINJ. */
export const generalProtection: Answer = {
  kind: 'exception',
  eventInj: BigInt(EventInj.VALID + EventInj.TYPE_EXCEPTION + EventInj.ERROR_CODE + 13),
};

export const malformed = (reason: GhcbReason): Answer => ({ kind: 'malformed', reason });
export const badUsage = malformed(GhcbReason.USAGE);
export const badScratch = malformed(GhcbReason.SCRATCH);
export const missingInput = malformed(GhcbReason.MISSING_INPUT);
export const badInput = malformed(GhcbReason.INVALID_INPUT);
