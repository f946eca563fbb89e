// A guest that writes a secret of its own into a private page, looks again and again whether it is still there, and ends in one of several ways.

import { assemble } from '../../src/asm/assemble.ts';
import { IMAGE } from '../system/small-guest.ts';

export const MEMORY = 2 << 20;
/** Guest physical address of the page that is full of the secret. */
export const SECRET_AT = 0x18_0000;
/** Instructions after which it has been written. */
export const WRITTEN_AFTER = 600;

const SECRET_MARK = 0x1122_3344_5566_7788n;
const ROUNDS_MARK = 0x1234_5678;

const template = assemble(
  `
  mov rax, ${SECRET_MARK}
  mov ebx, ${ROUNDS_MARK}
  mov edi, ${SECRET_AT}
  mov ecx, 512
  rep stosq
  again:
  mov esi, ${SECRET_AT}
  mov ecx, 512
  same:
  cmp rax, [rsi]
  jne gone
  add esi, 8
  loop same
  mov edi, ${SECRET_AT + 0x4000}
  mov ecx, 1024
  rep stosq
  dec ebx
  jnz again
  hlt
  gone:
  ud2`,
  { origin: BigInt(IMAGE) },
).bytes;

const at = (mark: bigint, size: 4 | 8): number => {
  const view = new DataView(template.buffer, template.byteOffset, template.length);
  for (let offset = 0; offset + size <= template.length; offset++)
    if ((size === 8 ? view.getBigUint64(offset, true) : BigInt(view.getUint32(offset, true))) === mark) return offset;
  throw new Error('the template has no such mark');
};
const SECRET_OFFSET = at(SECRET_MARK, 8);
const ROUNDS_OFFSET = at(BigInt(ROUNDS_MARK), 4);

/** It halts after so many rounds, or if what it reads is not its secret meets #UD, which ends in a shutdown. */
export function secretGuest(secret: bigint, rounds: number): Uint8Array {
  const bytes = template.slice();
  const view = new DataView(bytes.buffer);
  view.setBigUint64(SECRET_OFFSET, secret, true);
  view.setUint32(ROUNDS_OFFSET, rounds, true);
  return bytes;
}
