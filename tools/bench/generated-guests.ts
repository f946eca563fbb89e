// Guests that are too dull to be files: much code that runs once, and a walk over all of memory. Both are flat 64-bit binaries for
// 0x100000 that halt when they have succeeded.

import { assemble } from '../../src/asm/assemble.ts';

const PAGE = 4096;
const ORIGIN = 0x10_0000n;

/** Of a real boot: 394,000 instructions on 2,000 pages, each executed once or few times. */
export const CODE_PAGES = 2000;
const INSTRUCTIONS = 197;

/** What compiled code is made of, with no effect that matters. RDI is the boot page, RSP a stack. */
const ingredients = [
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsi', 'r8', 'r9', 'r12', 'r15'].flatMap((register) => [
    `mov ${register}, [rdi + 0x40]`,
    `mov [rsp - 0x30], ${register}`,
    `add ${register}, 0x11`,
    `xor ${register}, rbp`,
    `lea ${register}, [rsp + 4 * ${register} + 0x123]`,
    `cmp ${register}, [rdi + 8]`,
    `imul ${register}, ${register}, 9`,
    `shr ${register}, 3`,
    `test ${register}, ${register}`,
    `push ${register}\npop ${register}`,
  ]),
  ...['eax', 'ecx', 'edx', 'ebx', 'r10d', 'r11d', 'r13d', 'r14d'].flatMap((register) => [
    `mov ${register}, 0x12345`,
    `sub ${register}, [rsp - 0x20]`,
    `and ${register}, 0xffff`,
    `or [rsp - 0x24], ${register}`,
    `inc ${register}`,
    `movzx ${register}, byte [rdi + 1]`,
    `cmovne ${register}, ebp`,
    `jz $ + 2`,
    `jc $ + 2`,
  ]),
  'setnz al',
  'cdqe',
  'nop',
];

/** xorshift32 (Marsaglia 2003): always the same guest. */
function chance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Code on every page, each page's executed once from its first byte to a jump to the next. */
export function coldCode(pages = CODE_PAGES): Uint8Array {
  const encoded = ingredients.map((source) => assemble(source).bytes);
  const pick = chance(0x2545_f491);
  const image = new Uint8Array(pages * PAGE);
  for (let page = 0; page < pages; page++) {
    let at = page * PAGE;
    for (let n = 0; n < INSTRUCTIONS - 1; n++) {
      const bytes = encoded[pick(encoded.length)] as Uint8Array;
      image.set(bytes, at);
      at += bytes.length;
    }
    const last = page === pages - 1 ? 'hlt' : `jmp ${(page + 1) * PAGE}`;
    image.set(assemble(last, { origin: BigInt(at) }).bytes, at);
  }
  return image;
}

/** Writes a word into every mebibyte from the fourth on, then reads all of them back. */
export const memoryWalk = (memory: number): Uint8Array =>
  assemble(
    `
      mov rcx, ${memory}
      mov rbx, 0x400000
    write:
      mov [rbx], rbx
      add rbx, 0x100000
      cmp rbx, rcx
      jb write
      mov rbx, 0x400000
    read:
      cmp [rbx], rbx
      jne wrong
      add rbx, 0x100000
      cmp rbx, rcx
      jb read
      hlt
    wrong:
      ud2
    `,
    { origin: ORIGIN },
  ).bytes;
