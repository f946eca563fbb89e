import { describe, expect, it } from 'vitest';
import { IoApic } from '../../src/devices/io-apic.ts';
import type { ApicMessage } from '../../src/devices/apic-message.ts';

function ioApic(accepts = true) {
  const sent: ApicMessage[] = [];
  const device = new IoApic((message) => {
    sent.push(message);
    return accepts;
  });
  const read = (index: number): number => {
    device.write(0, 4, index);
    return device.read(0x10, 4);
  };
  const write = (index: number, value: number): void => {
    device.write(0, 4, index);
    device.write(0x10, 4, value);
  };
  return { device, sent, read, write };
}
const PIN = 5;
const LOW = 0x10 + 2 * PIN;

describe('I/O APIC', () => {
  it('has 24 masked entries after reset', () => {
    const { read, device } = ioApic();
    expect([read(0), read(1), read(LOW), read(LOW + 1), read(0x3f), read(0x40)]).toEqual([0, 0x17_0020, 0x1_0000, 0, 0, 0]);
    expect([device.read(0, 4), device.read(0x20, 4)]).toEqual([0x40, 0]);
  });

  it('an edge is sent once, with what the entry says', () => {
    const { device, sent, write } = ioApic();
    write(LOW + 1, 0x0300_0000);
    write(LOW, 0x0931);
    device.line(PIN, true);
    device.line(PIN, true);
    device.line(PIN, false);
    expect(sent).toEqual([{ type: 1, vector: 0x31, level: false, logical: true, destination: 3 }]);
    device.line(PIN, true);
    expect(sent.length).toBe(2);
  });

  it('listens to a pin that is unmasked, and lets devices raise what they have to raise before an entry changes', () => {
    let settled = 0;
    const device = new IoApic(
      () => true,
      () => {
        settled++;
      },
    );
    expect([device.listens(0), device.listens(24)]).toEqual([false, false]);
    device.write(0, 4, 0x10);
    device.write(0x10, 4, 0x31);
    expect([device.listens(0), settled]).toEqual([true, 2]);
  });

  it('a masked edge is lost', () => {
    const { device, sent, write } = ioApic();
    write(LOW, 0x1_0031);
    device.line(PIN, true);
    write(LOW, 0x31);
    expect(sent).toEqual([]);
  });

  it('a level sets remote IRR, is not sent again before its end, and then as long as the line is active', () => {
    const { device, sent, read, write } = ioApic();
    write(LOW, 0x8031);
    device.line(PIN, true);
    expect([sent.length, read(LOW)]).toEqual([1, 0xc031]);
    device.line(PIN, true);
    device.endOfInterrupt(0x32);
    expect(sent.length).toBe(1);
    device.endOfInterrupt(0x31);
    expect(sent.length).toBe(2);
    device.line(PIN, false);
    device.write(0x40, 4, 0x31);
    expect([sent.length, read(LOW)]).toEqual([2, 0x8031]);
  });

  it('a level that was masked comes when it is unmasked', () => {
    const { device, sent, write } = ioApic();
    write(LOW, 0x1_8031);
    device.line(PIN, true);
    expect(sent).toEqual([]);
    write(LOW, 0x8031);
    expect(sent).toMatchObject([{ vector: 0x31, level: true }]);
  });

  it('a message that nobody takes leaves remote IRR clear', () => {
    const { device, read, write } = ioApic(false);
    write(LOW, 0x8031);
    device.line(PIN, true);
    expect(read(LOW)).toBe(0x8031);
  });

  it('remote IRR cannot be written, and a pin beyond the last is nobody', () => {
    const { device, read, write, sent } = ioApic();
    write(LOW, 0x1_f031);
    expect(read(LOW)).toBe(0x1_a031);
    device.line(24, true);
    write(0x40, 0);
    expect(sent).toEqual([]);
  });
});
