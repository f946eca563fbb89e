import { describe, expect, it, vi } from 'vitest';
import { type Frames, SINK_FRAME, Status, VOID_FRAME } from '../../src/memory/frames.ts';
import { PagePort } from '../../src/memory/host-page.ts';
import { bytesOf, decryptXe, encryptXe, KEYS, memorySystem } from './fixture.ts';

const PAGE = 4096;
const get = (frames: Frames, spa: number, key: number, length: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  frames.read(spa, key, bytes);
  return bytes;
};
const chips = (frames: Frames, page: number): Uint8Array => {
  const bytes = new Uint8Array(PAGE);
  frames.ciphertext(page, bytes);
  return bytes;
};

describe('frames', () => {
  it('keep ciphertext in DRAM that a second implementation decrypts', () => {
    const { frames, dram } = memorySystem();
    const plain = bytesOf(2 * PAGE);
    frames.write(5 * PAGE, 1, plain);
    expect(decryptXe(KEYS[1]!, 5 * PAGE, chips(frames, 5))).toEqual(plain.slice(0, PAGE));
    frames.flush();
    expect(decryptXe(KEYS[1]!, 6 * PAGE, dram.page(6))).toEqual(plain.slice(PAGE));
  });

  it('show ciphertext through a view without key, and noise through another key', () => {
    const { frames } = memorySystem();
    frames.write(5 * PAGE, 1, bytesOf(PAGE));
    expect(get(frames, 5 * PAGE, 0, PAGE)).toEqual(encryptXe(KEYS[1]!, 5 * PAGE, bytesOf(PAGE)));
    expect(get(frames, 5 * PAGE, 2, PAGE)).toEqual(decryptXe(KEYS[2]!, 5 * PAGE, encryptXe(KEYS[1]!, 5 * PAGE, bytesOf(PAGE))));
    expect(get(frames, 5 * PAGE, 1, PAGE)).toEqual(bytesOf(PAGE));
  });

  it('read a page that nobody wrote as noise under a key and as zeros without one', () => {
    const { frames } = memorySystem();
    expect(get(frames, 9 * PAGE, 0, PAGE)).toEqual(new Uint8Array(PAGE));
    expect(get(frames, 9 * PAGE, 1, PAGE)).toEqual(decryptXe(KEYS[1]!, 9 * PAGE, new Uint8Array(PAGE)));
    expect(frames.blank(9)).toBe(true);
  });

  it('drop the other views on the first write and keep one dirty view', () => {
    const { frames } = memorySystem();
    frames.write(PAGE, 1, bytesOf(PAGE));
    const other = frames.view(1, 2);
    const shared = frames.view(1, 1);
    expect(frames.table.status[shared]! & Status.DIRTY).toBe(0);
    frames.write(PAGE, 0, new Uint8Array([1]));
    expect(frames.table.pages[other]).toBe(-1);
    const expected = encryptXe(KEYS[1]!, PAGE, bytesOf(PAGE));
    expected[0] = 1;
    expect(chips(frames, 1)).toEqual(expected);
  });

  it('read beyond DRAM as all ones and lose writes there', () => {
    const { frames, dram } = memorySystem();
    frames.write(dram.size - 2, 0, bytesOf(4));
    expect(get(frames, dram.size - 2, 0, 4)).toEqual(new Uint8Array([1, 8, 0xff, 0xff]));
    frames.write(2 ** 51, 0, bytesOf(4));
    expect(get(frames, 2 ** 51, 1, 2)).toEqual(new Uint8Array([0xff, 0xff]));
    expect(frames.own(2 ** 30, 0)).toBe(VOID_FRAME);
  });

  it('lose nothing when they run out', () => {
    const { frames, memory } = memorySystem(8 * 1024 * 1024);
    const pages = memory.frameCount + 500;
    for (let page = 0; page < pages; page++) frames.write(page * PAGE, page % 3, new Uint8Array([page, page >>> 8]));
    for (let page = 0; page < pages; page++) {
      expect(get(frames, page * PAGE, page % 3, 2)).toEqual(new Uint8Array([page, page >>> 8]));
    }
    expect(frames.table.pages[VOID_FRAME]).toBe(-1);
    expect(frames.table.pages[SINK_FRAME]).toBe(-1);
  });

  it('write back under the old key when a slot gets another one', () => {
    const { frames, encryption } = memorySystem();
    frames.write(PAGE, 1, bytesOf(PAGE));
    encryption.setKey(1, KEYS[2]!);
    expect(chips(frames, 1)).toEqual(encryptXe(KEYS[1]!, PAGE, bytesOf(PAGE)));
    expect(get(frames, PAGE, 1, 16)).not.toEqual(bytesOf(16));
    encryption.setKey(1, KEYS[1]!);
    expect(get(frames, PAGE, 1, PAGE)).toEqual(bytesOf(PAGE));
  });

  it('tell the owner of code of stores to its lines only, and of lost frames', () => {
    const { frames } = memorySystem();
    const owner = { onCodeStore: vi.fn(), onDrop: vi.fn() };
    frames.codeOwner = owner;
    const f = frames.own(3, 1);
    frames.watchCode(f, 0x838, 16); // lines 20h and 21h
    frames.write(3 * PAGE + 0x7f0, 1, bytesOf(16));
    frames.write(3 * PAGE + 0x880, 1, bytesOf(16));
    expect(owner.onCodeStore).not.toHaveBeenCalled();
    frames.write(3 * PAGE + 0x840, 1, bytesOf(1));
    expect(owner.onCodeStore).toHaveBeenCalledWith(f, 0x840, 1);
    frames.write(3 * PAGE, 0, bytesOf(1));
    expect(owner.onDrop).toHaveBeenCalledWith(f);
  });

  it('have a lazy page written by its owner before anybody sees it, by any view', () => {
    const ways: ((frames: Frames) => unknown)[] = [
      (frames) => get(frames, 2 * PAGE, 0, 1),
      (frames) => frames.write(2 * PAGE, 2, bytesOf(1)),
      (frames) => chips(frames, 2),
      (frames) => frames.flush(),
      (frames) => frames.encryption.setKey(1, KEYS[2]!),
    ];
    for (const touch of ways) {
      const { frames } = memorySystem();
      const port = new PagePort(frames, 2);
      port.u8(0);
      const materialise = vi.fn((page: number) => frames.write(page * PAGE, 1, bytesOf(PAGE)));
      const owner = { materialise };
      frames.setLazy(2, owner);
      frames.setLazy(2, owner);
      expect(materialise).not.toHaveBeenCalled();
      touch(frames);
      touch(frames);
      expect(materialise).toHaveBeenCalledTimes(1);
    }
    const { frames } = memorySystem();
    const port = new PagePort(frames, 2);
    port.setU8(0, 1);
    frames.setLazy(2, { materialise: (page) => frames.write(page * PAGE, 1, bytesOf(PAGE)) });
    expect(port.u8(0)).toBe(encryptXe(KEYS[1]!, 2 * PAGE, bytesOf(PAGE))[0]);
  });

  it('let only the AMD-SP and microcode pass a fence', () => {
    const { frames } = memorySystem();
    frames.write(PAGE, 0, bytesOf(8));
    const port = new PagePort(frames, 1);
    expect(port.u8(0)).toBe(1);
    frames.fence(1, 2);
    expect(port.u8(0)).toBe(0xff);
    port.setU8(0, 7);
    frames.write(PAGE, 0, bytesOf(8, 99));
    expect(get(frames, PAGE, 0, 2)).toEqual(new Uint8Array([0xff, 0xff]));
    const bytes = new Uint8Array(8);
    frames.readSecure(PAGE, 0, bytes);
    expect(bytes).toEqual(bytesOf(8));
    frames.writeSecure(PAGE, 0, bytesOf(8, 3));
    frames.unfence(1, 2);
    expect(port.u8(0)).toBe(3);
  });

  it('can be made what they were at power-on: zeros in the chips, whoever had written', () => {
    const { frames, dram, encryption } = memorySystem();
    for (const coherent of [true, false]) {
      frames.reset(dram, encryption, coherent);
      frames.write(5 * PAGE, 1, bytesOf(PAGE));
      frames.write(40 * PAGE, 0, bytesOf(PAGE));
      frames.flush();
      frames.write(40 * PAGE, 0, bytesOf(8, 99));
      for (const [page, key] of [
        [5, 1],
        [40, 0],
      ] as const) {
        frames.flushPage(page, key);
        frames.discard(page);
        expect(chips(frames, page)).toEqual(new Uint8Array(PAGE));
        expect(frames.writtenUnder(page)).toBeNull();
        expect(frames.blank(page)).toBe(true);
      }
      frames.flush();
      expect(get(frames, 5 * PAGE, 1, PAGE)).toEqual(decryptXe(KEYS[1]!, 5 * PAGE, new Uint8Array(PAGE)));
    }
  });

  it('of other pages keep what they hold beside one that is discarded', () => {
    const { frames } = memorySystem();
    frames.write(5 * PAGE, 1, bytesOf(PAGE));
    frames.write(6 * PAGE, 1, bytesOf(PAGE));
    frames.flush();
    frames.discard(5);
    frames.evictAll();
    expect(frames.blank(6)).toBe(false);
    expect(get(frames, 6 * PAGE, 1, PAGE)).toEqual(bytesOf(PAGE));
    expect(chips(frames, 5)).toEqual(new Uint8Array(PAGE));
  });

  it('that the AMD-SP fences off are not discarded', () => {
    const { frames } = memorySystem();
    frames.writeSecure(5 * PAGE, 0, bytesOf(PAGE));
    frames.fence(5, 1);
    frames.discard(5);
    frames.unfence(5, 1);
    expect(get(frames, 5 * PAGE, 0, PAGE)).toEqual(bytesOf(PAGE));
  });

  it('serve one machine after the other without growth', () => {
    const { frames, memory, dram, encryption } = memorySystem();
    frames.write(0, 1, bytesOf(64 * PAGE));
    for (let n = 0; n < 50; n++) {
      const next = memorySystem(dram.size, memory);
      frames.reset(next.dram, next.encryption);
      expect(get(frames, 0, 0, 16)).toEqual(new Uint8Array(16));
      frames.write(0, 1, bytesOf(64 * PAGE));
    }
    expect(frames.table.end).toBe(67);
    expect(encryption.beforeKeyChange).toBe(null);
  });
});

describe('a page under the host mapping', () => {
  it('reads and writes all widths and survives evictions', () => {
    const { frames } = memorySystem();
    const port = new PagePort(frames, 4);
    port.setU64(8, 0x1122_3344_5566_7788n);
    port.setU32(16, 0xdead_beef);
    port.setU16(20, 0x1234);
    port.setU8(22, 0x56);
    frames.evictAll();
    expect([port.u64(8), port.u32(16), port.u16(20), port.u8(22)]).toEqual([0x1122_3344_5566_7788n, 0xdead_beef, 0x1234, 0x56]);
    port.setU8(4095, 9);
    expect(get(frames, 4 * PAGE + 4095, 0, 1)[0]).toBe(9);
    expect(() => port.u64(4090)).toThrow('outside a page');
  });

  it('sees the ciphertext of what the guest wrote since', () => {
    const { frames } = memorySystem();
    const port = new PagePort(frames, 4);
    port.setU8(0, 1);
    frames.write(4 * PAGE, 1, bytesOf(PAGE));
    expect(port.u8(0)).toBe(encryptXe(KEYS[1]!, 4 * PAGE, bytesOf(PAGE))[0]);
  });

  it('outside DRAM reads as all ones', () => {
    const { frames } = memorySystem();
    const port = new PagePort(frames, 2 ** 40);
    port.setU64(0, 1n);
    expect(port.u64(0)).toBe(0xffff_ffff_ffff_ffffn);
  });
});
