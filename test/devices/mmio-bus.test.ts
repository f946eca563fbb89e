import { describe, expect, it } from 'vitest';
import { MmioBus } from '../../src/devices/mmio-bus.ts';
import { TestMemory } from '../../src/devices/test-ports.ts';

describe('MMIO bus', () => {
  const at = 0xff00_0000;
  const bus = () => {
    const made = new MmioBus();
    return { bus: made, place: made.map(at, 0x1_0000, new TestMemory(0x1_0000)) };
  };
  const read = (from: MmioBus, address: number, length: number): number[] => {
    const into = new Uint8Array(length);
    from.read(BigInt(address), into);
    return [...into];
  };

  it('any width and alignment reads back what was written', () => {
    const { bus: made } = bus();
    for (const [offset, length] of [
      [0, 1],
      [2, 2],
      [4, 4],
      [8, 8],
      [17, 16],
      [0xff_f, 2],
    ] as const) {
      const bytes = Uint8Array.from({ length }, (_, n) => n + 0x80);
      made.write(BigInt(at + offset), bytes);
      expect(read(made, at + offset, length)).toEqual([...bytes]);
    }
  });

  it('nobody there reads all ones and swallows writes', () => {
    const { bus: made } = bus();
    made.write(BigInt(at - 2), Uint8Array.of(1, 2, 3, 4));
    expect(read(made, at - 2, 4)).toEqual([0xff, 0xff, 3, 4]);
    expect(made.claims(BigInt(at - 1))).toBe(false);
  });

  it('a device can be moved and switched off', () => {
    const { bus: made, place } = bus();
    made.write(BigInt(at), Uint8Array.of(5));
    place.base = 0x1000_0000;
    expect([read(made, at, 1), read(made, 0x1000_0000, 1)]).toEqual([[0xff], [5]]);
    place.enabled = false;
    expect(read(made, 0x1000_0000, 1)).toEqual([0xff]);
  });
});
