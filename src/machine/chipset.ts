// The chips around the processor, at their addresses: the same whether a hypervisor stands between them and a guest, or the program runs on
// the machine itself. Whoever runs the processor says what becomes of an interrupt and of the end of a run.

import { AcpiPm, ApmPorts } from '../devices/acpi-pm.ts';
import { type CmosFindings, CmosRtc } from '../devices/cmos-rtc.ts';
import { DebugConsole } from '../devices/debug-console.ts';
import type { DmaMemory, Line } from '../devices/device.ts';
import { DmaEngine } from '../devices/dma-engine.ts';
import type { FwCfg } from '../devices/fw-cfg.ts';
import { I8042 } from '../devices/i8042.ts';
import { IO_APIC_PINS, IoApic } from '../devices/io-apic.ts';
import { IoBus } from '../devices/io-bus.ts';
import { Iommu } from '../devices/iommu.ts';
import { REGISTER_SPACE } from '../devices/iommu-layout.ts';
import type { ApicMessage } from '../devices/apic-message.ts';
import type { LocalApic } from '../devices/local-apic.ts';
import { MmioBus } from '../devices/mmio-bus.ts';
import { type PciBus, PciConfigurationPorts } from '../devices/pci-bus.ts';
import { Pic8259Pair } from '../devices/pic8259.ts';
import { Pit8254 } from '../devices/pit8254.ts';
import { PmTimer } from '../devices/pm-timer.ts';
import { SharedLine } from '../devices/shared-line.ts';
import { SystemControlA, SystemControlB } from '../devices/system-control.ts';
import { TestDevice } from '../devices/test-device.ts';
import { EchoPorts, LinePorts, TestMemory } from '../devices/test-ports.ts';
import { type SerialPeer, Uart16550 } from '../devices/uart16550.ts';
import { PAGE_SIZE } from '../util/address.ts';
import type { Components, Stateful } from '../util/stateful.ts';
import { guestMap } from './memory-map.ts';
import { type VirtioParts, wirePci } from './pci.ts';
import { COM1_LINE, DMA_DEVICE, DMA_LINE, KEYBOARD_LINE, portMap, timerLines } from './ports.ts';
import { NANOSECONDS } from './time.ts';

export type ChipsetParts = {
  /** Time since power-on in instructions. */
  readonly time: () => number;
  /** The other end of COM1. */
  readonly serial: SerialPeer;
  /** Where the debug console's bytes go; left out: to the other end of COM1. */
  readonly debugConsole?: ((byte: number) => void) | undefined;
  /** The date at power-on: milliseconds since 1970-01-01 UTC. */
  readonly rtc: number;
  /** What CMOS RAM says of the machine. */
  readonly findings: CmosFindings;
  readonly virtio: VirtioParts | null;
  /** No firmware sets up the PCI bus: it is as it would be behind it. */
  readonly pciConfigured: boolean;
  readonly fwCfg: FwCfg;
  /** Memory as bus masters reach it where nothing translates. */
  readonly memory: DmaMemory;
  /** Is there an IOMMU between bus masters and memory? */
  readonly iommu: boolean;
  /** The 8259A pair is as firmware leaves it. */
  readonly picInitialised: boolean;
  /** False: no local APIC took the message. */
  readonly deliver: (message: ApicMessage) => boolean;
  /** INTR of the 8259A pair, which is LINT0 of the local APIC. */
  readonly interruptRequest: (level: boolean) => void;
  /** INIT for the processor. */
  readonly initialise: () => void;
  /** The program wrote to the test device. */
  readonly ended: (value: number) => void;
  /** The program has turned the machine off, or wants it reset. */
  readonly stopped: (why: 'powered-off' | 'reset') => void;
};

export type Chipset = {
  readonly io: IoBus;
  readonly mmio: MmioBus;
  readonly ioApic: IoApic;
  readonly pic: Pic8259Pair;
  readonly pit: Pit8254;
  readonly pci: PciBus;
  /** Something may have come from outside: devices that do not look for themselves do. */
  readonly poll: () => void;
  /** Something has come for COM1: it looks, for a program that waits for its interrupt. */
  readonly received: () => void;
  /** All that have a state. */
  readonly components: Components;
};

export function wireChipset(parts: ChipsetParts): Chipset {
  const { serial, rtc } = parts;
  const io = new IoBus();
  const mmio = new MmioBus();
  const now = (): number => parts.time() * NANOSECONDS;
  const settle = (): void => pit.settle();
  const ioApic = new IoApic(parts.deliver, settle);
  const pic = new Pic8259Pair(parts.interruptRequest, settle);
  if (parts.picInitialised) pic.initialiseAsFirmware();
  const interrupt = (irq: number, level: boolean): void => {
    ioApic.line(irq, level);
    pic.line(irq, level);
  };
  const lines = Array.from({ length: IO_APIC_PINS }, (_, n) => new SharedLine((level) => interrupt(n, level)));
  const line = (n: number): Line => lines[n]?.input() ?? (() => {});
  const pit = new Pit8254(now, (level) => {
    pic.line(timerLines.irq, level);
    ioApic.line(timerLines.pin, level);
  });
  mmio.map(guestMap.ioApic, PAGE_SIZE, ioApic);
  const testMemory = new TestMemory(guestMap.testMemory.size);
  mmio.map(guestMap.testMemory.start, guestMap.testMemory.size, testMemory);
  const iommu = parts.iommu ? new Iommu(parts.memory) : null;
  if (iommu !== null) mmio.map(guestMap.iommu, REGISTER_SPACE, iommu);
  const memory = (deviceId: number): DmaMemory => iommu?.behind(deviceId) ?? parts.memory;
  const dmaEngine = new DmaEngine(memory(DMA_DEVICE), line(DMA_LINE));
  mmio.map(guestMap.dmaEngine, PAGE_SIZE, dmaEngine);
  const pmTimer = new PmTimer(now);
  const acpi = new AcpiPm(pmTimer, () => parts.stopped('powered-off'));
  const reset = (): void => parts.stopped('reset');
  const { deliver, virtio, pciConfigured: configured } = parts;
  const pci = wirePci({ io, mmio, acpi, line, deliver, memory, virtio, configured });
  const keyboard = new I8042(line(KEYBOARD_LINE), reset);
  const console = new DebugConsole(parts.debugConsole ?? ((byte) => serial.transmit(byte)));
  const devices = {
    pic: pic.masterPorts,
    slavePic: pic.slavePorts,
    levelControl: pic.elcrPorts,
    pit,
    keyboardData: keyboard.data,
    systemControlB: new SystemControlB(pit),
    keyboardCommand: keyboard.command,
    systemControlA: new SystemControlA(parts.initialise),
    realTimeClock: new CmosRtc(() => rtc + now() / 1e6, parts.findings),
    apm: new ApmPorts(acpi),
    echoPorts: new EchoPorts(),
    debugConsole: console,
    testText: console,
    testDevice: new TestDevice(parts.ended),
    com1: new Uart16550(serial, line(COM1_LINE)),
    fwCfg: parts.fwCfg,
    pmTimer,
    pciConfiguration: new PciConfigurationPorts(pci.bus, reset),
    interruptLines: new LinePorts(interrupt),
  } satisfies Record<keyof typeof portMap, unknown>;
  for (const name of Object.keys(portMap) as (keyof typeof portMap)[]) io.map(portMap[name].base, portMap[name].ports, devices[name]);
  const poll = (): void => {
    for (const device of pci.devices) device.poll();
  };
  const { systemControlA, systemControlB, realTimeClock, apm, echoPorts, com1, fwCfg, pciConfiguration } = devices;
  const components = new Map<string, Stateful>([
    ...Object.entries({ io, mmio, ioApic, pic, pit, testMemory, dmaEngine, acpi, keyboard }),
    ...Object.entries({ systemControlA, systemControlB, realTimeClock, apm, echoPorts, com1, fwCfg, pciConfiguration }),
    ['lines', { exchange: (fields) => lines.forEach((shared) => fields.part(shared)) }],
    ...pci.components,
  ]);
  if (iommu !== null) components.set('iommu', iommu);
  return { io, mmio, ioApic, pic, pit, pci: pci.bus, poll, received: () => com1.poll(), components };
}

/** When a timer may have an interrupt for the processor: nanoseconds since power-on; Infinity: none will. */
export function nextTimer(apic: LocalApic, { pit, pic, ioApic }: Pick<Chipset, 'pit' | 'pic' | 'ioApic'>): number {
  if (pit.next === Number.POSITIVE_INFINITY) return apic.deadline;
  const heard = (pic.listens(timerLines.irq) && apic.listens) || ioApic.listens(timerLines.pin);
  return heard ? Math.min(apic.deadline, pit.next) : apic.deadline;
}
