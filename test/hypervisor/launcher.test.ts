import { describe, expect, it } from 'vitest';
import { Vmsa } from '../../src/arch/vmsa.ts';
import { IoApic } from '../../src/devices/io-apic.ts';
import { IoBus } from '../../src/devices/io-bus.ts';
import { MmioBus } from '../../src/devices/mmio-bus.ts';
import { Pic8259Pair } from '../../src/devices/pic8259.ts';
import { Pit8254 } from '../../src/devices/pit8254.ts';
import { planBoot } from '../../src/hypervisor/boot.ts';
import { readFlat } from '../../src/hypervisor/images/flat.ts';
import { noIntercepts } from '../../src/hypervisor/intercepts.ts';
import { HostSystem } from '../../src/hypervisor/host-system.ts';
import { launch, vmsaImage } from '../../src/hypervisor/launcher.ts';
import { BytesPort } from '../../src/util/struct.ts';
import { FakeHost, RAM } from './fake-host.ts';

const plan = () =>
  planBoot('test', readFlat('test', Uint8Array.of(0x90, 0xf4), RAM.size, {}), {
    technology: 'sev',
    memory: RAM.size,
    cBit: 51,
    append: '',
  });

const systemOf = (host: FakeHost): HostSystem => new HostSystem([host], { model: 'test', sme: false, encryptedState: false, trace: null });

describe('the launch', () => {
  it('puts image and boot structures where the plan says, as whole pages, and nothing elsewhere', () => {
    const host = new FakeHost();
    host.bytes.fill(0xcc, RAM.at, RAM.at + RAM.size);
    const { ranges } = plan();
    launch(
      systemOf(host),
      {
        technology: 'none',
        ram: RAM,
        vcpus: 1,
        schedule: { policy: 'round-robin', quantum: 10_000, chance: () => 0 },
        placement: () => 0,
        intercepts: noIntercepts,
        io: new IoBus(),
        mmio: new MmioBus(),
        ioApic: new IoApic(() => false),
        pic: new Pic8259Pair(() => {}),
        pit: new Pit8254(
          () => 0,
          () => {},
        ),
        emulator: { execute: () => false },
        trace: null,
      },
      plan(),
    );
    const inside = (at: number) => ranges.some(({ start, end }) => at >= start && at < end);
    expect([...host.bytes.subarray(RAM.at + 0x10_0000, RAM.at + 0x10_0004)]).toEqual([0x90, 0xf4, 0, 0]);
    for (let at = 0; at < RAM.size; at += 0x400) if (!inside(at)) expect(host.bytes[RAM.at + at]).toBe(0xcc);
  });

  it('says what failed when no AMD-SP answers', () => {
    const { failure, measurement } = launch(
      systemOf(new FakeHost()),
      {
        technology: 'sev',
        ram: RAM,
        vcpus: 1,
        schedule: { policy: 'round-robin', quantum: 10_000, chance: () => 0 },
        placement: () => 0,
        intercepts: noIntercepts,
        io: new IoBus(),
        mmio: new MmioBus(),
        ioApic: new IoApic(() => false),
        pic: new Pic8259Pair(() => {}),
        pit: new Pit8254(
          () => 0,
          () => {},
        ),
        emulator: { execute: () => false },
        trace: null,
      },
      plan(),
    );
    expect(failure).toMatch(/INIT.*NO RESPONSE/);
    expect(measurement).toBeNull();
  });

  it('measures a VMSA with the registers of docs/entry.md', () => {
    const view = Vmsa(new BytesPort(vmsaImage(plan().state)));
    expect(view).toMatchObject({ rip: 0x10_0000n, rflags: 2n, efer: 0x1d00n, cr0: 0x8001_0033n, cr4: 0x620n, rdi: 0x1000n });
    expect(view).toMatchObject({ csSelector: 8, csAttributes: 0xa9b, csLimit: 0xffff_ffff, ssSelector: 0x10, trAttributes: 0x8b });
    expect(view).toMatchObject({ dr6: 0xffff_0ff0n, dr7: 0x400n, xcr0: 1n, mxcsr: 0x1f80, x87Fcw: 0x37f, sevFeatures: 0n });
    expect(view.rax).toBe(0n);
  });
});
