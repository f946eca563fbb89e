import { describe, expect, it } from 'vitest';
import { readElf } from '../../src/hypervisor/images/executable.ts';
import { buildElf } from './build-elf.ts';
import { UserError } from '../../src/util/errors.ts';

const MEMORY = 64 << 20;
const read = (bytes: Uint8Array, placement = {}) => readElf('kernel', bytes, MEMORY, placement);

describe('ELF executables', () => {
  it('are loaded by p_paddr, with zeros behind p_filesz', () => {
    const image = read(buildElf({ segments: [{ paddr: 0x10_0000n, content: [0xf4, 0x90], memsz: 0x3000n }] }));
    expect(image).toMatchObject({ format: 'ELF64', entry: 0x10_0000, mode: 64 });
    expect(image.segments).toEqual([{ start: 0x10_0000, size: 0x3000, bytes: new Uint8Array([0xf4, 0x90]) }]);
  });

  it('are entered at the physical address of e_entry', () => {
    const high = 0xffff_ffff_8000_0000n;
    const image = read(
      buildElf({ entry: high + 4n, segments: [{ vaddr: high, paddr: 0x20_0000n, content: [0, 0, 0, 0, 0xf4], memsz: 8n }] }),
    );
    expect(image.entry).toBe(0x20_0004);
  });

  it('come out in ascending order', () => {
    const image = read(
      buildElf({
        entry: 0x30_0000n,
        segments: [
          { paddr: 0x30_0000n, content: [1] },
          { paddr: 0x10_0000n, content: [2] },
        ],
      }),
    );
    expect(image.segments.map(({ start }) => start)).toEqual([0x10_0000, 0x30_0000]);
  });

  const all = 0xffff_ffff_ffff_ffffn;
  const segment = { paddr: 0x10_0000n, content: [0xf4] };
  const cases: readonly [what: string, bytes: () => Uint8Array, says: RegExp][] = [
    ['cut off in the header', () => buildElf({ segments: [segment] }).subarray(0, 40), /ELF header/],
    ['of an unknown class', () => buildElf({ class: 3, segments: [segment] }), /EI_CLASS.*-m64/],
    ['big-endian', () => buildElf({ data: 2, segments: [segment] }), /EI_DATA/],
    ['of another version', () => buildElf({ identVersion: 0, segments: [segment] }), /EI_VERSION/],
    ['of another version (e_version)', () => buildElf({ version: 9, segments: [segment] }), /e_version/],
    ['32-bit in name only', () => buildElf({ class: 1, segments: [segment] }), /e_ehsize/],
    ['for another machine', () => buildElf({ machine: 3, segments: [segment] }), /e_machine is 3.*x86-64/],
    ['position-independent', () => buildElf({ type: 3, segments: [segment] }), /e_type is 3.*-no-pie/],
    ['an object', () => buildElf({ type: 1, segments: [segment] }), /e_type is 1.*executable/],
    ['with an odd e_ehsize', () => buildElf({ ehsize: 52, segments: [segment] }), /e_ehsize/],
    ['with an odd e_phentsize', () => buildElf({ phentsize: 32, segments: [segment] }), /e_phentsize/],
    ['without program headers', () => buildElf({ segments: [] }), /e_phnum is 0/],
    ['with extended numbering', () => buildElf({ phnum: 0xffff, segments: [segment] }), /e_phnum is 0xffff/],
    ['with more program headers than file', () => buildElf({ phnum: 100, segments: [segment] }), /e_phoff.*copy it again/],
    ['with a hostile e_phoff', () => buildElf({ phoff: all, segments: [segment] }), /e_phoff/],
    [
      'with p_filesz over p_memsz',
      () => buildElf({ segments: [{ paddr: 0x10_0000n, content: [1, 2, 3], memsz: 2n }] }),
      /p_filesz.*p_memsz/,
    ],
    ['with p_memsz 0 but contents', () => buildElf({ segments: [{ paddr: 0x10_0000n, content: [1], memsz: 0n }] }), /p_memsz is 0/],
    [
      'with contents behind the end',
      () => buildElf({ segments: [{ paddr: 0n, content: [], filesz: 0x1000n, memsz: 0x1000n }] }),
      /p_offset.*copy it again/,
    ],
    ['with a hostile p_offset', () => buildElf({ segments: [{ paddr: 0n, content: [1], offset: all }] }), /p_offset/],
    ['with an odd p_align', () => buildElf({ segments: [{ ...segment, align: 3n }] }), /p_align/],
    ['outside memory', () => buildElf({ entry: 0x400_0000n, segments: [{ paddr: 0x400_0000n, content: [1] }] }), /outside.*--memory/],
    ['with a hostile p_paddr', () => buildElf({ entry: all, segments: [{ paddr: all, content: [1], memsz: all }] }), /outside/],
    ['with a hostile p_memsz', () => buildElf({ segments: [{ ...segment, memsz: all }] }), /outside/],
    [
      'with overlapping segments',
      () =>
        buildElf({
          segments: [
            { paddr: 0x10_0000n, content: [1], memsz: 0x1001n },
            { paddr: 0x10_1000n, content: [1] },
          ],
        }),
      /overlaps/,
    ],
    ['with e_entry outside', () => buildElf({ entry: 0x20_0000n, segments: [segment] }), /e_entry/],
    ['dynamically linked', () => buildElf({ segments: [segment, { type: 3, paddr: 0n, content: [] }] }), /-static/],
    ['with a dynamic section', () => buildElf({ segments: [segment, { type: 2, paddr: 0n, content: [] }] }), /-static/],
    ['without PT_LOAD', () => buildElf({ segments: [{ type: 4, paddr: 0n, content: [] }] }), /PT_LOAD/],
  ];
  it.each(cases)('%s are refused by the name of the field, with the mend', (_what, bytes, says) => {
    expect(() => read(bytes())).toThrow(UserError);
    expect(() => read(bytes())).toThrow(says);
  });

  it('cannot be moved with --load', () => {
    expect(() => read(buildElf({ segments: [segment] }), { load: 0x1000 })).toThrow(/--load/);
  });

  it('can be entered elsewhere with --entry, inside a segment', () => {
    const bytes = buildElf({ segments: [{ paddr: 0x10_0000n, content: [1, 2, 3] }] });
    expect(read(bytes, { entry: 0x10_0002 }).entry).toBe(0x10_0002);
    expect(() => read(bytes, { entry: 0x20_0000 })).toThrow(/--entry/);
    expect(() => read(bytes, { mode: 16 })).toThrow(/--mode 16/);
  });
});
