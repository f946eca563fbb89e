// SSE4.2's instructions for text and checksums. APM vol. 4: PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (src/cpu/system/text.ts does them);
// vol. 3: CRC32, which works on general registers and needs no SSE state.

import { Mnemonic } from 'iced-x86';
import { State } from '../../memory/state.ts';
import type { SystemRoutine, Value } from '../emitter.ts';
import type { Size } from '../form.ts';
import { sse } from './availability.ts';
import type { Semantics, SemanticsTable } from './table.ts';

/** The second string goes to the routine through the state: reading it is what can fault. The operand says how wide the lengths are. */
const compare = (routine: SystemRoutine, lengths: Size = 4): Semantics =>
  sse((b) => {
    b.setState128(State.VECTOR_OPERAND, b.readVector(1, false));
    b.system(routine, b.f.const64(BigInt(lengths)));
  });

/** 11EDC6F41h, reflected, without its highest term (Castagnoli). */
const POLYNOMIAL = 0x82f6_3b78n;

/** The remainder so far in the lower half, the data enter at bit 0: as many steps as the source has bits. */
const crc32: Semantics = (b) => {
  const { f } = b;
  const { i64 } = f;
  const size = b.size(1);
  const data = b.zeroExtend(size, 8, b.let(size, b.read(1)));
  const rest = f.local64();
  const left = f.local32();
  f.set(rest, i64.xor(data, f.extendU(b.truncate(b.size(0), 4, b.read(0)))));
  f.set(left, f.const32(8 * size));
  f.loop((next) => {
    const taken = i64.sub(f.const64(0n), i64.and(rest.get, f.const64(1n)));
    f.set(rest, i64.xor(i64.shrU(rest.get, f.const64(1n)), i64.and(taken, f.const64(POLYNOMIAL))));
    f.set(left, f.i32.sub(left.get, f.const32(1)));
    f.brIf(next, left.get);
  });
  b.write(0, b.truncate(8, b.size(0), i64.and(rest.get, f.const64(0xffff_ffffn)) as Value));
};

export const text: SemanticsTable = {
  [Mnemonic.Pcmpestri]: compare('pcmpestri'),
  [Mnemonic.Pcmpestri64]: compare('pcmpestri', 8),
  [Mnemonic.Pcmpestrm]: compare('pcmpestrm'),
  [Mnemonic.Pcmpestrm64]: compare('pcmpestrm', 8),
  [Mnemonic.Pcmpistri]: compare('pcmpistri'),
  [Mnemonic.Pcmpistrm]: compare('pcmpistrm'),
  [Mnemonic.Crc32]: crc32,
};
