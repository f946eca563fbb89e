import { describe, expect, it } from 'vitest';
import { BOOT_APPEND, BOOT_MAGIC, BOOT_RANGES, BootPage } from '../../src/arch/boot-page.ts';
import { planBoot } from '../../src/hypervisor/boot.ts';
import type { BootOptions } from '../../src/hypervisor/boot-plan.ts';
import type { Image, StartMode } from '../../src/hypervisor/images/image.ts';
import { BytesPort } from '../../src/util/struct.ts';

const image = (segments: readonly (readonly [start: number, size: number])[], mode: StartMode = 64): Image => ({
  format: 'flat',
  protocol: 'cbit',
  segments: segments.map(([start, size]) => ({ start, size, bytes: new Uint8Array(0) })),
  entry: segments[0]?.[0] ?? 0,
  mode,
});
const options: BootOptions = { technology: 'sev-es', memory: 64 << 20, cBit: 51, append: 'quiet' };
const plan = (of: Image, more: Partial<BootOptions> = {}) => planBoot('kernel', of, { ...options, ...more });

describe('what a guest starts with', () => {
  it('is described by the boot page, whose address is in RDI', () => {
    const { state, bootPage, contents } = plan(image([[0x10_0000, 0x1800]]));
    expect(state.rdi).toBe(BigInt(bootPage));
    const bytes = contents.find(({ start }) => start === bootPage)!.bytes;
    const page = BootPage(new BytesPort(bytes));
    expect(page.magic).toBe(BOOT_MAGIC);
    expect(page).toMatchObject({ version: 1, technology: 2, cBit: 51, cBitMask: 1n << 51n, memorySize: 64n << 20n, imageRanges: 1 });
    expect(new BytesPort(bytes).u64(BOOT_RANGES.offset)).toBe(0x10_0000n);
    expect(new BytesPort(bytes).u64(BOOT_RANGES.offset + 8)).toBe(0x10_2000n);
    expect(new TextDecoder().decode(bytes.subarray(BOOT_APPEND.offset, BOOT_APPEND.offset + page.appendLength))).toBe('quiet');
    expect(page.stackTop).toBe(state.rsp);
    expect(page.pageTables).toBe(state.cr3 & ~(1n << 51n));
  });

  it('has no C-bit without memory encryption', () => {
    const { state, contents, bootPage } = plan(image([[0x10_0000, 1]]), { technology: 'none' });
    const page = BootPage(new BytesPort(contents.find(({ start }) => start === bootPage)!.bytes));
    expect(page).toMatchObject({ cBit: 0, cBitMask: 0n, technology: 0 });
    expect(state.cr3 >> 51n).toBe(0n);
  });

  it('is loaded as whole pages, ascending, without overlap', () => {
    const { ranges } = plan(
      image([
        [0x800, 1],
        [0x1800, 0x1000],
        [0x10_0000, 1],
      ]),
    );
    expect(ranges[0]).toEqual({ start: 0, end: 0x3000 });
    for (const [i, range] of ranges.entries()) {
      expect(range.start % 4096).toBe(0);
      expect(range.start).toBeGreaterThanOrEqual(ranges[i - 1]?.end ?? 0);
    }
  });

  it('is long mode with paging as docs/entry.md has it', () => {
    const { state } = plan(image([[0x10_0000, 1]]));
    expect(state).toMatchObject({ cr0: 0x8001_0033n, cr4: 0x620n, efer: 0x1d00n, rflags: 2n, rip: 0x10_0000n });
    expect(state.idtr.limit).toBe(0);
  });

  it('is flat protected mode, ready for SSE, with --mode 32', () => {
    const { state } = plan(image([[0x1_0000, 16]], 32));
    expect(state).toMatchObject({ cr0: 0x33n, cr3: 0n, cr4: 0x600n, rip: 0x1_0000n, cs: { selector: 0x18, limit: 0xffff_ffff } });
  });

  it('is real mode at CS:IP with --mode 16', () => {
    const { state } = plan(image([[0x2_7c00, 16]], 16));
    expect(state).toMatchObject({ cr0: 0x10n, rip: 0x7c00n, cs: { selector: 0x2000, base: 0x2_0000n }, idtr: { limit: 0x3ff } });
    expect(state.ss.base + state.rsp).toBeLessThan(0x10_0000n);
  });

  it('refuses an image that leaves no room, or is in too many pieces, or a text that is too long', () => {
    expect(() => plan(image([[0, 64 << 20]]))).toThrow(/--memory/);
    expect(() => plan(image(Array.from({ length: 65 }, (_, n) => [0x10_0000 + n * 0x2000, 1] as const)))).toThrow(/ranges/);
    expect(() => plan(image([[0x10_0000, 1]]), { append: 'x'.repeat(3000) })).toThrow(/--append/);
    expect(() => plan(image([[0x10_0000, 1]]), { append: 'a\0b' })).toThrow(/--append/);
  });
});
