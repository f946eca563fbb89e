// Virtual CPUs take turns. The processor is a script: it says who got it and for how long.

import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { Rflags } from '../../src/arch/registers.ts';
import { VmcbControl } from '../../src/arch/vmcb.ts';
import { IoApic } from '../../src/devices/io-apic.ts';
import { IoBus } from '../../src/devices/io-bus.ts';
import { MmioBus } from '../../src/devices/mmio-bus.ts';
import { Pic8259Pair } from '../../src/devices/pic8259.ts';
import { Pit8254 } from '../../src/devices/pit8254.ts';
import { noIntercepts } from '../../src/hypervisor/intercepts.ts';
import { MemoryHeap } from '../../src/hypervisor/memory-heap.ts';
import type { Schedule } from '../../src/hypervisor/scheduler.ts';
import { Activity } from '../../src/hypervisor/activity.ts';
import { Vcpu } from '../../src/hypervisor/vcpu.ts';
import { Vm, type VmHost } from '../../src/hypervisor/vm.ts';
import { RandomSource } from '../../src/util/random.ts';
import { spa } from '../../src/util/address.ts';
import { FakeHost, RAM } from './fake-host.ts';

/** What a virtual CPU does next: executes as long as it may, or ten instructions and then HLT or PAUSE. */
type Act = 'run' | 'hlt' | 'pause';
const WORK = 10;
const vmcbOf = (number: number) => spa(0x2000 + 0x1000 * number);

class ScriptedProcessor extends FakeHost {
  /** Who ran how long, with what it did. */
  readonly turns: string[] = [];
  readonly acts = new Map<number, Act[]>();

  override vmrun(vmcb: number) {
    const view = VmcbControl(this.memory.page(spa(vmcb)));
    view.eventInj = 0n;
    view.exitIntInfo = 0n;
    const number = (vmcb - vmcbOf(0)) / 0x1000;
    const act = this.acts.get(number)?.shift() ?? 'run';
    const worked = act === 'run' ? this.timer : WORK;
    this.retired += worked;
    view.exitCode = BigInt(act === 'run' ? ExitCode.INTR : act === 'hlt' ? ExitCode.HLT : ExitCode.PAUSE);
    this.turns.push(`${number} ${act} ${worked}`);
    return null;
  }
}

function guest(vcpus: number, schedule: Partial<Schedule> = {}) {
  const host = new ScriptedProcessor();
  const home: VmHost = {
    first: host,
    heap: new MemoryHeap(),
    cMask: 0n,
    physical: (place) => place,
    wbinvd: () => {},
    enter: () => host,
    evict: () => {},
  };
  const vm: Vm = new Vm(home, {
    technology: 'none',
    vcpus,
    schedule: { policy: 'round-robin', quantum: 100, chance: () => 0, ...schedule },
    placement: () => 0,
    ram: RAM,
    asid: 1,
    cBit: 51,
    intercepts: noIntercepts,
    io: new IoBus(),
    mmio: new MmioBus(),
    ioApic: new IoApic(() => false),
    pic: new Pic8259Pair(() => {}),
    pit: new Pit8254(
      () => vm.clock.time,
      () => {},
    ),
    emulator: { execute: () => false },
    trace: null,
  });
  for (let number = 0; number < vcpus; number++) {
    const places = { vmcb: vmcbOf(number), registers: spa(0xa000 + 0x1000 * number) };
    const vcpu = new Vcpu(vm, number, places, { cr0: 0x8001_0033n, cr4: 0x620n, efer: 0x1d00n });
    vcpu.activity = Activity.RUNNING;
    vcpu.save.rflags = BigInt(Rflags.IF);
    vm.vcpus.push(vcpu);
  }
  return { host, vm, run: (budget: number, limit?: number) => vm.scheduler.run(budget, limit) };
}

/** A one-shot timer of the local APIC: vector 40h after so many nanoseconds. */
function timer({ vm }: ReturnType<typeof guest>, number: number, nanoseconds: number): void {
  const { apic } = vm.vcpus[number]!.interrupts;
  const write = (offset: number, value: number): void => apic.write(offset, 4, value);
  write(0xf0, 0x1ff); // spurious vector, enabled
  write(0x3e0, 0b1011); // divide by 1
  write(0x320, 0x40);
  write(0x380, nanoseconds);
}

describe('virtual CPUs in order', () => {
  it('have a quantum of instructions each', () => {
    const { host, run } = guest(3);
    expect(run(500)).toBeNull();
    expect(host.turns).toEqual(['0 run 100', '1 run 100', '2 run 100', '0 run 100', '1 run 100']);
  });

  it('go to the end of their quantum, wherever a slice ends', () => {
    const { host, run } = guest(2);
    for (const slice of [30, 50, 60, 160]) run(slice);
    expect(host.turns).toEqual(['0 run 100', '1 run 100', '0 run 100', '1 run 100', '0 run 100']);
  });

  it('are cut where all of the run ends, and go on there', () => {
    const { host, run } = guest(2);
    run(30, 30);
    run(50, 120);
    run(60, 60);
    expect(host.turns).toEqual(['0 run 30', '0 run 70', '1 run 60']);
  });

  it('give the rest of it away by PAUSE, to the next in order', () => {
    const { host, run } = guest(3);
    host.acts.set(0, ['pause']);
    host.acts.set(1, ['pause']);
    run(240);
    expect(host.turns.slice(0, 4)).toEqual(['0 pause 10', '1 pause 10', '2 run 100', '0 run 100']);
  });

  it('are passed over while they sleep', () => {
    const { host, run } = guest(3);
    host.acts.set(1, ['hlt']);
    run(410);
    expect(host.turns).toEqual(['0 run 100', '1 hlt 10', '2 run 100', '0 run 100', '2 run 100']);
  });

  it('have no quantum if there is one only', () => {
    const { host, run } = guest(1);
    run(5000);
    expect(host.turns).toEqual(['0 run 5000']);
  });
});

describe('virtual CPUs by chance', () => {
  it('come in an order, and for as long, as the chance says: up to twice the quantum', () => {
    const draws = [2, 49, 0, 199, 1, 0];
    const { host, run } = guest(3, { policy: 'random', chance: () => draws.shift() ?? 0 });
    run(251);
    expect(host.turns).toEqual(['2 run 50', '0 run 200', '2 run 1']);
  });

  it('all get their share', () => {
    const stream = new RandomSource('7').stream('schedule');
    const { host, run } = guest(4, { policy: 'random', chance: () => stream.u32() });
    run(100_000);
    const shares = [0, 0, 0, 0];
    for (const turn of host.turns) {
      const [number = 0, , worked = 0] = turn.split(' ').map(Number);
      shares[number] = (shares[number] ?? 0) + worked;
    }
    for (const share of shares) expect(share).toBeGreaterThan(15_000);
  });
});

describe('when all sleep', () => {
  it('the guest’s time goes on to the next timer, and only its owner wakes', () => {
    const two = guest(2);
    const { host, vm, run } = two;
    host.acts.set(0, ['hlt', 'hlt']);
    host.acts.set(1, ['hlt']);
    timer(two, 1, 16_000);
    vm.vcpus[1]!.save.rip = 0x1000n;
    run(120);
    expect(host.turns).toEqual(['0 hlt 10', '1 hlt 10', '1 run 100']);
    expect(host.idled).toBeGreaterThan(900);
    expect(vm.clock.time).toBe(120 + host.idled);
    expect(vm.clock.retired).toBe(120);
  });

  it('and nothing will wake any, the run has ended', () => {
    const { host, run } = guest(2);
    host.acts.set(0, ['hlt']);
    host.acts.set(1, ['hlt']);
    expect(run(1000)).toEqual({ kind: 'halted', interruptsEnabled: true });
    expect(host.idled).toBe(0);
  });

  it('with interrupts disabled a timer wakes nobody', () => {
    const one = guest(1);
    timer(one, 0, 16_000);
    one.vm.vcpus[0]!.save.rflags = 0n;
    one.host.acts.set(0, ['hlt']);
    expect(one.run(1000)).toEqual({ kind: 'halted', interruptsEnabled: false });
  });
});

it('one that is awake runs no further than to the timer of one that sleeps', () => {
  const two = guest(2, { quantum: 10_000 });
  timer(two, 0, 16_000);
  two.host.acts.set(0, ['hlt']);
  two.run(3000);
  expect(two.host.turns).toEqual(['0 hlt 10', expect.stringMatching(/^1 run 9\d\d$/), expect.stringMatching(/^1 run 9\d\d\d$/)]);
  expect(two.vm.vcpus[0]!.activity).toBe(Activity.RUNNING);
});

it('the exits of a slice are bounded, whatever the guest executes', () => {
  const { host, run } = guest(1);
  host.acts.set(0, new Array<Act>(50_000).fill('pause'));
  expect(run(10_000_000)).toBeNull();
  expect(host.turns.length).toBe(20_000);
});
