// The constants that FLD1 and its kin load: rounded to extended precision as rounding control says (APM vol. 1, 6.5.5).

import { encodeZero, f80 } from './format.ts';
import { F, LN10, LN2, ONE, PI } from './fixed.ts';
import { round, type Rounding } from './round.ts';

const exact = { one: ONE, log2Of10: (LN10 << F) / LN2, log2OfE: (ONE << F) / LN2, pi: PI, log10Of2: (LN2 << F) / LN10, ln2: LN2 } as const;

export function constantBits(name: keyof typeof exact | 'zero', rounding: Rounding): bigint {
  if (name === 'zero') return encodeZero(f80, 0);
  return round(f80, 0, exact[name], -Number(F), { rounding, masks: 0x3f, flushToZero: false }).bits;
}
