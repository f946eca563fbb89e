import { describe, test } from 'vitest';
import { alu } from './alu.ts';
import { bits } from './bits.ts';
import { control } from './control.ts';
import { crypto } from './crypto.ts';
import { faults } from './faults.ts';
import { flags } from './flags.ts';
import { check } from './harness.ts';
import { legacy } from './legacy.ts';
import { moves } from './moves.ts';
import { muldiv } from './muldiv.ts';
import { shifts } from './shifts.ts';
import { sseFloat } from './sse-float.ts';
import { stack } from './stack.ts';
import { strings } from './strings.ts';
import { system } from './system.ts';
import { vectorMoves } from './vector-moves.ts';
import { vectors } from './vectors.ts';
import { x87 } from './x87.ts';

describe.each(
  Object.entries({
    moves,
    alu,
    shifts,
    muldiv,
    bits,
    control,
    stack,
    strings,
    flags,
    legacy,
    system,
    faults,
    sseFloat,
    vectorMoves,
    vectors,
    crypto,
    x87,
  }),
)('%s', (_, cases) => {
  test.each(cases.map((c) => [c.name, c] as const))('%s', (_name, c) => check(c));
});
