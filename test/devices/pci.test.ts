// Configuration space by mechanism #1, base address registers, capabilities, INTx# and its way through the PIIX3, MSI-X. PCI Local Bus
// Specification 3.0; 82441FX, 82371SB and 82371AB data sheets.

import { beforeEach, describe, expect, it } from 'vitest';
import { IoBus } from '../../src/devices/io-bus.ts';
import type { ApicMessage } from '../../src/devices/apic-message.ts';
import { messageOf, Msix } from '../../src/devices/msix.ts';
import { devfn, PciBus, PciConfigurationPorts } from '../../src/devices/pci-bus.ts';
import { PciCommand, PciFunction } from '../../src/devices/pci-function.ts';
import { addChipset, IsaBridge, PirqRoute, PowerManagement } from '../../src/devices/pci-i440fx.ts';
import { SharedLine } from '../../src/devices/shared-line.ts';

const ALL = PciCommand.IO | PciCommand.MEMORY | PciCommand.MASTER | PciCommand.INTERRUPT_DISABLE;

let io: IoBus;
let bus: PciBus;
let fn: PciFunction;
let places: Record<string, number | null>;
let lines: string[];
let isaBridge: IsaBridge;
let acpi: number | null;
let resets: number;

beforeEach(() => {
  io = new IoBus();
  bus = new PciBus();
  lines = [];
  places = {};
  acpi = null;
  resets = 0;
  const shared = Array.from({ length: 16 }, (_, irq) => new SharedLine((level) => lines.push(`${irq} ${level ? 'up' : 'down'}`)));
  isaBridge = new IsaBridge((irq) => shared[irq]?.input() ?? (() => {}));
  addChipset(bus, isaBridge, new PowerManagement((base) => (acpi = base)));
  fn = new PciFunction('test', { vendor: 0x1234, device: 0x5678, classCode: 0xff_01_02, revision: 9, interruptPin: 1, command: ALL });
  const place = (name: string) => (base: number | null) => {
    places[name] = base;
  };
  fn.addBar(0, { kind: 'memory', size: 0x1000, place: place('memory') });
  fn.addBar(1, { kind: 'io', size: 0x20, place: place('io') });
  fn.addBar(2, { kind: 'memory64', size: 0x1_0000, place: place('memory64') });
  fn.addCapability({ id: 0x09, bytes: Uint8Array.of(1, 2, 3), mask: Uint8Array.of(0, 0xff) });
  fn.addCapability({ id: 0x11, bytes: new Uint8Array(10) });
  fn.line = isaBridge.intx(4, 1);
  bus.add(devfn(4), fn);
  io.map(0xcf8, 8, new PciConfigurationPorts(bus, () => resets++));
});

const select = (where: number, register: number, more = 0): void => io.out(0xcf8, 4, 0x8000_0000 + more + (where << 8) + (register & 0xfc));
function read(register: number, size: 1 | 2 | 4 = 4, where = devfn(4)): number {
  select(where, register);
  return io.in(0xcfc + (register & 3), size);
}
function write(register: number, size: 1 | 2 | 4, value: number, where = devfn(4)): void {
  select(where, register);
  io.out(0xcfc + (register & 3), size, value);
}

describe('configuration mechanism #1', () => {
  it('finds the chip set of QEMU’s pc', () => {
    expect([read(0, 4, 0), read(8, 4, 0)]).toEqual([0x1237_8086, 0x0600_0002]);
    expect([read(0, 4, devfn(1)), read(8, 4, devfn(1)) >>> 8, read(0x0e, 1, devfn(1))]).toEqual([0x7000_8086, 0x06_01_00, 0x80]);
    expect([read(0, 4, devfn(1, 3)), read(0x3c, 2, devfn(1, 3))]).toEqual([0x7113_8086, 0x0109]);
  });

  it('reads all ones where nobody is, on other buses, and while it is off', () => {
    expect([read(0, 4, devfn(5)), read(0, 4, devfn(4, 1)), read(0, 2, devfn(31, 7))]).toEqual([0xffff_ffff, 0xffff_ffff, 0xffff]);
    select(devfn(4), 0, 0x1_0000);
    expect(io.in(0xcfc, 4)).toBe(0xffff_ffff);
    io.out(0xcf8, 4, devfn(4) << 8);
    expect(io.in(0xcfc, 4)).toBe(0xffff_ffff);
  });

  it('reads and writes bytes and words of a register', () => {
    expect([read(0, 2), read(1, 1), read(2, 2), read(3, 1), read(9, 1), read(0x0a, 2)]).toEqual([0x1234, 0x12, 0x5678, 0x56, 0x02, 0xff01]);
    write(0x3c, 1, 0x0b);
    expect(read(0x3c, 4)).toBe(0x010b);
    select(devfn(4), 0);
    expect(io.in(0xcfd, 2)).toBe(0x7812); // two bytes in the middle
  });

  it('the address register takes doublewords only, and keeps the bits that it has', () => {
    io.out(0xcf8, 4, 0xffff_ffff);
    expect(io.in(0xcf8, 4)).toBe(0x80ff_fffc);
    io.out(0xcf8, 1, 0);
    io.out(0xcfb, 1, 1);
    io.out(0xcfa, 2, 0);
    expect([io.in(0xcf8, 4), io.in(0xcf8, 1), io.in(0xcfa, 2)]).toEqual([0x80ff_fffc, 0xff, 0xffff]);
  });

  it('bit 2 of port CF9h resets as it goes from 0 to 1', () => {
    io.out(0xcf9, 1, 2);
    expect([resets, io.in(0xcf9, 1)]).toEqual([0, 2]);
    io.out(0xcf9, 1, 6);
    io.out(0xcf9, 1, 6);
    expect(resets).toBe(1);
  });
});

describe('a header', () => {
  it('keeps its identity, and of the command register what there is', () => {
    for (let register = 0; register < 0x10; register += 4) write(register, 4, 0xffff_ffff);
    expect([read(0), read(4, 2), read(8), read(0x0c)]).toEqual([0x5678_1234, ALL, 0xff01_0209, 0]);
  });

  it('a base address register tells its size when all ones are written', () => {
    for (const register of [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24]) write(register, 4, 0xffff_ffff);
    expect([0x10, 0x14, 0x18, 0x1c, 0x20, 0x24].map((register) => read(register))).toEqual([
      0xffff_f000, 0xffff_ffe1, 0xffff_0004, 0xffff_ffff, 0, 0,
    ]);
  });

  it('decodes where its registers say while the command register lets it', () => {
    write(0x10, 4, 0xfe00_0fff);
    write(0x14, 4, 0xc05f);
    write(0x18, 4, 0x0001_0000);
    write(0x1c, 4, 0x12);
    expect(places).toEqual({});
    write(4, 2, PciCommand.MEMORY);
    expect(places).toEqual({ memory: 0xfe00_0000, memory64: 0x12_0001_0000 });
    write(4, 2, PciCommand.IO);
    expect(places).toEqual({ memory: null, memory64: null, io: 0xc040 });
    write(4, 2, ALL);
    write(0x10, 4, 0xffff_ffff); // sizing is not meant as an address
    expect(places.memory).toBe(null);
    write(0x10, 4, 0xfd00_0000);
    expect(places.memory).toBe(0xfd00_0000);
    write(0x10, 4, 0);
    expect(places.memory).toBe(null);
  });

  it('has a list of capabilities', () => {
    expect([read(6, 2) & 0x10, read(0x34, 1)]).toEqual([0x10, 0x40]);
    expect([read(0x40), read(0x48, 2), read(0x49, 1)]).toEqual([0x0201_4809, 0x0011, 0]);
    write(0x40, 4, 0xaaaa_aaaa);
    expect(read(0x40)).toBe(0xaa01_4809);
  });
});

describe('INTx#', () => {
  it('is a status bit, and held back by the command register', () => {
    isaBridge.write(PirqRoute.FIRST + 3, 1, 11); // INTA# of device 4
    fn.interrupt(true);
    expect([read(6, 2) & 8, lines]).toEqual([8, ['11 up']]);
    write(4, 2, PciCommand.INTERRUPT_DISABLE);
    expect([read(6, 2) & 8, lines.at(-1)]).toEqual([8, '11 down']);
    write(4, 2, 0);
    fn.interrupt(false);
    expect([read(6, 2) & 8, lines]).toEqual([0, ['11 up', '11 down', '11 up', '11 down']]);
  });

  it('goes to PIRQA to PIRQD by device and pin, which the ISA bridge brings to a line', () => {
    for (let n = 0; n < 4; n++) expect(read(PirqRoute.FIRST + n, 1, devfn(1))).toBe(0x80);
    for (let n = 0; n < 4; n++) write(PirqRoute.FIRST + n, 1, 9 + n, devfn(1));
    expect([1, 2, 3, 4, 5].map((device) => isaBridge.lineOf(device, 1))).toEqual([9, 10, 11, 12, 9]);
    expect([1, 2, 3, 4].map((pin) => isaBridge.lineOf(3, pin))).toEqual([11, 12, 9, 10]);
    for (const route of [0, 1, 2, 8, 13, 0x8b]) {
      write(PirqRoute.FIRST, 1, route, devfn(1));
      expect(isaBridge.lineOf(1, 1)).toBe(null);
    }
  });

  it('is shared: the line stays up until the last device is served, and moves with the route', () => {
    const other = isaBridge.intx(4, 1);
    isaBridge.write(PirqRoute.FIRST + 3, 1, 10);
    other(true);
    fn.interrupt(true);
    other(false);
    expect(lines).toEqual(['10 up']);
    write(PirqRoute.FIRST, 4, 0x0b80_8080, devfn(1));
    expect(lines.slice(1).sort()).toEqual(['10 down', '11 up']);
    fn.interrupt(false);
    expect(lines.at(-1)).toBe('11 down');
  });
});

describe('power management of the PIIX4', () => {
  it('decodes the ACPI registers where PMBA says once PMREGMISC lets it', () => {
    write(0x40, 4, 0xb03f, devfn(1, 3));
    expect([acpi, read(0x40, 4, devfn(1, 3))]).toEqual([null, 0xb001]);
    write(0x80, 1, 1, devfn(1, 3));
    expect(acpi).toBe(0xb000);
    write(0x40, 4, 0x600, devfn(1, 3));
    expect(acpi).toBe(0x600);
    write(0x80, 1, 0, devfn(1, 3));
    expect(acpi).toBe(null);
  });
});

describe('MSI-X', () => {
  const VECTORS = 3;
  let sent: ApicMessage[];
  let msix: Msix;
  let control: number;

  beforeEach(() => {
    sent = [];
    const plain = new PciFunction('msix', { vendor: 1, device: 2, classCode: 0, command: ALL });
    msix = new Msix(plain, 1, VECTORS, (message) => sent.push(message));
    control = 0x42;
    plain.written = () => msix.settle();
    bus.add(devfn(6), plain);
    write(4, 2, PciCommand.MASTER, devfn(6));
  });
  const enable = (bits = 0x8000): void => write(control, 2, bits, devfn(6));
  const entry = (n: number, address: number, data: number, masked = 0): void => {
    msix.write(16 * n, 4, address);
    msix.write(16 * n + 4, 4, 0);
    msix.write(16 * n + 8, 4, data);
    msix.write(16 * n + 12, 4, masked);
  };

  it('says how many entries there are and where', () => {
    expect([read(0x40, 1, devfn(6)), read(0x42, 2, devfn(6)), read(0x44, 4, devfn(6)), read(0x48, 4, devfn(6))]).toEqual([
      0x11, 2, 1, 0x801,
    ]);
    expect([msix.read(12, 4), msix.read(28, 4)]).toEqual([1, 1]); // all are masked
  });

  it('an entry is a message to local APICs', () => {
    enable();
    entry(1, 0xfee0_3004, 0x0143);
    msix.raise(1);
    expect(sent).toEqual([{ type: 1, vector: 0x43, level: false, logical: true, destination: 3 }]);
    expect(messageOf(0xfed0_0000, 0, 0)).toBe(null);
    expect(messageOf(0xfee0_0000, 1, 0)).toBe(null);
  });

  it('sends nothing while it is off, or the function is no bus master', () => {
    entry(0, 0xfee0_0000, 0x40);
    msix.raise(0);
    enable();
    write(4, 2, 0, devfn(6));
    msix.raise(0);
    expect(sent).toEqual([]);
  });

  it('a masked entry is pending, and sent when it no longer is', () => {
    enable();
    entry(2, 0xfee0_0000, 0x42, 1);
    msix.raise(2);
    expect([sent.length, msix.read(0x800, 4)]).toEqual([0, 4]);
    entry(2, 0xfee0_0000, 0x42);
    expect([sent.map(({ vector }) => vector), msix.read(0x800, 4)]).toEqual([[0x42], 0]);
    enable(0xc000);
    msix.raise(2);
    expect(sent.length).toBe(1);
    enable();
    expect(sent.length).toBe(2);
  });

  it('has no other entries, and takes doublewords only', () => {
    enable();
    msix.raise(VECTORS);
    msix.write(16 * VECTORS, 4, 1);
    msix.write(8, 2, 0xffff);
    expect([sent.length, msix.read(16 * VECTORS, 4), msix.read(8, 4), msix.read(0xffc, 4)]).toEqual([0, 0, 0, 0]);
  });
});
