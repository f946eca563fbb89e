// The containers of other people's images around given code: Multiboot, PVH and ROM, well-formed or with fields that lie.

import { MultibootHeader } from '../../src/hypervisor/images/multiboot.ts';
import type { RandomStream } from '../../src/util/random.ts';
import { BytesPort } from '../../src/util/struct.ts';
import { elf32, header, LOAD, note, PT_NOTE, withAddresses } from '../hypervisor/images/build-image.ts';

export type Container = { readonly name: string; readonly bytes: Uint8Array; readonly rom?: boolean; readonly initrd?: Uint8Array };

const join = (...parts: readonly Uint8Array[]): Uint8Array => {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
};

/** A far jump to F000:0000, at the reset vector. */
const RESET_JUMP = Uint8Array.of(0xea, 0, 0, 0, 0xf0);

function rom(code: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(0x1_0000);
  bytes.set(code.subarray(0, 0xfff0));
  bytes.set(RESET_JUMP, 0xfff0);
  return bytes;
}

/** Well-formed: the code is executed. */
export function containerAround(random: RandomStream, code: Uint8Array): Container {
  const initrd = random.below(2) === 0 ? { initrd: random.bytes(random.below(5000)) } : {};
  switch (random.below(4)) {
    case 0: {
      const front = header({ flags: random.below(8) });
      const sections = random.below(2) === 0 ? [{ type: 2, bytes: code.subarray(0, random.below(code.length)) }] : [];
      const bytes = elf32([{ paddr: LOAD, bytes: join(front, code), memsz: code.length + random.below(0x4000) + 12 }], LOAD + 12, sections);
      return { name: 'Multiboot executable', bytes, ...initrd };
    }
    case 1:
      return { name: 'Multiboot with addresses', bytes: withAddresses(code, { bssEndAddr: LOAD + 0x2_0000 }), ...initrd };
    case 2: {
      const of = note(LOAD, { width: random.below(2) === 0 ? 4 : 8 });
      return {
        name: 'PVH',
        bytes: elf32(
          [
            { paddr: LOAD, bytes: code },
            { type: PT_NOTE, paddr: 0, bytes: of },
          ],
          0,
        ),
        ...initrd,
      };
    }
    default:
      return { name: 'ROM', bytes: rom(code), rom: true };
  }
}

/** `value`: a number that fits nowhere. */
export function lyingContainer(random: RandomStream, code: Uint8Array, value: () => number): Container {
  switch (random.below(5)) {
    case 0: {
      const names = ['headerAddr', 'loadAddr', 'loadEndAddr', 'bssEndAddr', 'entryAddr'] as const;
      const fields = Object.fromEntries(names.filter(() => random.below(3) === 0).map((name) => [name, value()]));
      return { name: 'Multiboot addresses that lie', bytes: withAddresses(code, fields) };
    }
    case 1: {
      const bytes = withAddresses(code);
      const { size } = MultibootHeader;
      new BytesPort(bytes).setU32(4 * random.below(size / 4), value());
      return { name: 'Multiboot header that lies', bytes: join(new Uint8Array(random.below(20)), bytes) };
    }
    case 2: {
      const of = note(LOAD);
      new BytesPort(of).setU32(4 * random.below(of.length / 4), value());
      return {
        name: 'PVH note that lies',
        bytes: elf32(
          [
            { paddr: LOAD, bytes: code },
            { type: PT_NOTE, paddr: 0, bytes: of },
          ],
          0,
        ),
      };
    }
    case 3: {
      const sections = [0, 1, 2].map((type) => ({ type, bytes: code.subarray(0, 64) }));
      const bytes = elf32([{ paddr: LOAD, bytes: join(header(), code) }], LOAD + 12, sections);
      const port = new BytesPort(bytes);
      for (let i = 0; i <= random.below(4); i++) {
        const headers = random.below(2) === 0;
        port.setU32(headers ? 4 * (4 + random.below(8)) : bytes.length - 120 + 4 * random.below(30), value());
      }
      return { name: 'Multiboot executable with headers that lie', bytes };
    }
    default:
      return {
        name: 'ROM of a size',
        bytes: new Uint8Array(random.below(3) === 0 ? random.below(0x1_2000) : 0x1000 * random.below(20)),
        rom: true,
      };
  }
}
