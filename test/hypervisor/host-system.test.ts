// The computer as the hypervisor's software keeps it: processors, whose registers are on them, what a guest gets and gives back.

import { afterEach, describe, expect, it } from 'vitest';
import { ASP_ABSENT } from '../../src/arch/asp.ts';
import { technologies, type Technology } from '../../src/arch/boot-page.ts';
import { Msr } from '../../src/arch/msr.ts';
import { Efer } from '../../src/arch/registers.ts';
import { Hwcr, Syscfg } from '../../src/arch/sev-features.ts';
import { VmcbControl } from '../../src/arch/vmcb.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { Host, type HostedGuest, type HostedOptions, type HostOptions } from '../../src/host.ts';
import { Activity } from '../../src/hypervisor/activity.ts';
import { AsidUse } from '../../src/sev/asid.ts';
import { PAGE_SIZE, type Spa } from '../../src/util/address.ts';
import { UserError } from '../../src/util/errors.ts';

let host: Host | null = null;
afterEach(() => {
  host?.dispose();
  host = null;
});
const open = (options: Partial<HostOptions> = {}): Host => {
  host = new Host({ cpu: 'milan', seed: '0', aes: nodeAes, hostCpus: 2, memory: 64 << 20, ...options });
  return host;
};
const loops = assemble('again: inc rax\n jmp again', { origin: 0x10_0000n }).bytes;
/** Fills the page at 180000h and loops. */
const fills = assemble('mov edi, 0x180000\n mov ecx, 512\n mov rax, 0x5ec2e7\n rep stosq\n again: jmp again', { origin: 0x10_0000n }).bytes;

let names = 0;
const create = (on: Host, given: Partial<HostedOptions> = {}, bytes = loops): HostedGuest =>
  on.create({
    name: String(++names),
    image: { name: 'flat', bytes },
    technology: 'sev-es',
    memory: 2 << 20,
    maxInstructions: null,
    intercepts: [],
    append: '',
    haltOk: true,
    rtc: 0,
    serial: { transmit: () => {}, next: () => undefined },
    ...given,
  });

describe('every processor', () => {
  it('has SVM and memory encryption on, SMM locked, and a host save area of its own', () => {
    const { machine } = open({ hostCpus: 4 });
    const areas = machine.processors.map((processor) => {
      expect(Number(processor.rdmsr(Msr.EFER)) & Efer.SVME).toBe(Efer.SVME);
      expect(Number(processor.rdmsr(Msr.SYSCFG)) & Syscfg.MEM_ENCRYPTION_MOD_EN).not.toBe(0);
      expect(Number(processor.rdmsr(Msr.HWCR)) & Hwcr.SMM_LOCK).not.toBe(0);
      return processor.rdmsr(Msr.VM_HSAVE_PA);
    });
    expect(new Set(areas).size).toBe(4);
    expect(areas).not.toContain(0n);
  });

  it.each([false, true])('reaches the same memory through the same page tables (SME: %s)', (sme) => {
    const { machine, system } = open({ hostCpus: 3, sme });
    const at = system.pages.take();
    machine.processors[2]!.memory.write(at, Uint8Array.of(1, 2, 3));
    const seen = new Uint8Array(3);
    for (const processor of machine.processors) {
      processor.memory.read(at, seen.fill(0));
      expect([...seen]).toEqual([1, 2, 3]);
    }
    machine.readCiphertext(at / PAGE_SIZE, new Uint8Array(PAGE_SIZE));
  });

  it('executes WBINVD when all have to', () => {
    const { machine, system } = open({ hostCpus: 3 });
    const executed: number[] = [];
    for (const [number, processor] of machine.processors.entries()) processor.wbinvd = () => void executed.push(number);
    system.wbinvd();
    expect(executed).toEqual([0, 1, 2]);
  });
});

describe('translations of an ASID are flushed', () => {
  /** Runs virtual CPUs on processors; gives the TLB_CONTROL of each VMRUN. */
  function controls(on: Host) {
    const { machine } = on;
    const seen: number[] = [];
    for (const processor of machine.processors) {
      const vmrun = processor.vmrun.bind(processor);
      processor.vmrun = (vmcb: Spa, registers) => {
        seen.push(VmcbControl(processor.memory.page(vmcb)).tlbControl & 0xff);
        return vmrun(vmcb, registers);
      };
    }
    const run = ({ guest }: HostedGuest, processor: number, vcpu = 0): void => {
      const one = guest.vm.vcpus[vcpu]!;
      one.activity = Activity.RUNNING;
      guest.vm.beginSlice();
      expect(guest.vm.run(one, processor, 100)).toBeNull();
    };
    return { seen, run };
  }

  it.each(technologies)('by the first VMRUN of a guest under %s and by none after it', (technology) => {
    const on = open();
    const { seen, run } = controls(on);
    const guest = create(on, { technology });
    for (let n = 0; n < 3; n++) run(guest, 0);
    expect(seen).toEqual([3, 0, 0]);
  });

  it('once, when a virtual CPU changes its processor, and when it comes back', () => {
    const on = open();
    const { seen, run } = controls(on);
    const guest = create(on);
    for (const processor of [0, 0, 1, 1, 0, 0]) run(guest, processor);
    expect(seen).toEqual([3, 0, 3, 0, 3, 0]);
  });

  it('not because another ASID had the processor meanwhile', () => {
    const on = open();
    const { seen, run } = controls(on);
    const [a, b] = [create(on), create(on, { technology: 'none' })];
    for (const guest of [a, b, a, b, a]) run(guest, 0);
    expect(seen).toEqual([3, 3, 0, 0, 0]);
  });

  it('when another virtual CPU of the same ASID had the processor', () => {
    const on = open();
    const { seen, run } = controls(on);
    const guest = create(on, { vcpus: 2 });
    for (const vcpu of [0, 1, 1, 0, 0]) run(guest, 0, vcpu);
    expect(seen).toEqual([3, 3, 0, 3, 0]);
    seen.length = 0;
    run(guest, 1, 1);
    run(guest, 0, 0);
    expect(seen).toEqual([3, 0]);
  });

  it.each(technologies)('when an ASID has another guest (%s)', (technology) => {
    const on = open({ cpu: 'naples', esAsids: 14 });
    const { seen, run } = controls(on);
    const asids = new Map<number, number>();
    for (let n = 0; n < 40; n++) {
      const guest = create(on, { technology });
      asids.set(guest.asid, (asids.get(guest.asid) ?? 0) + 1);
      run(guest, 0);
      run(guest, 0);
      expect(guest.destroy()).toBeNull();
    }
    expect(Math.max(...asids.values())).toBeGreaterThan(2);
    expect(seen).toEqual(Array.from({ length: 80 }, (_, n) => (n % 2 === 0 ? 3 : 0)));
  });
});

describe('a guest that is destroyed', () => {
  it.each(
    technologies.flatMap((technology) =>
      [{}, { sme: true }, { cpu: 'naples', evict: 'random' } as const].map((options) => [technology, options] as const),
    ),
  )('under %s on %o gives back all its memory, wiped', (technology, options) => {
    const on = open(options);
    expect(on.system.initialiseAsp()).toBeNull();
    const before = on.system.heap.free;
    const guest = create(on, { technology, vcpus: 3 }, fills);
    const { at, size } = guest.guest.vm.config.ram;
    on.advance(1000);
    const filled = at + 0x18_0000;
    expect(on.machine.readCiphertext(filled / PAGE_SIZE, new Uint8Array(PAGE_SIZE))).toBe(true);
    expect(on.system.heap.free).toBeLessThan(before - size);
    expect(guest.destroy()).toBeNull();
    expect(on.system.heap.free).toBe(before);
    // Nobody's key made what is in the chips now, and no cache has a line that could come out.
    const chips = new Uint8Array(PAGE_SIZE);
    for (const writtenBack of [false, true]) {
      if (writtenBack) on.system.wbinvd();
      for (let page = at / PAGE_SIZE; page < (at + size) / PAGE_SIZE; page++) {
        expect(on.machine.engine.frames.writtenUnder(page)).toBeNull();
        expect(on.machine.readCiphertext(page, chips) && chips.some((byte) => byte !== 0)).toBe(false);
      }
    }
    expect(guest.touched).toBe(0);
    expect(guest.dram.pages).toBe(0);
    expect(on.guests).toEqual([]);
  });

  it('leaves an ASID that waits for a flush, unless it had no key', () => {
    const on = open();
    const use = (technology: Technology): AsidUse => {
      const guest = create(on, { technology });
      expect(on.asids()).toContainEqual({ asid: guest.asid, use: AsidUse.IN_USE, owner: guest.name });
      guest.destroy();
      return on.system.asids.use(guest.asid);
    };
    expect(use('sev-es')).toBe(AsidUse.WAITING);
    expect(use('sev')).toBe(AsidUse.WAITING);
    expect(use('none')).toBe(AsidUse.FREE);
    expect(on.asids().map(({ use: now, owner }) => [now, owner])).toEqual([
      [AsidUse.WAITING, null],
      [AsidUse.WAITING, null],
    ]);
    expect(on.info().asp?.guests).toBe(0);
  });

  it('makes room for the next, also where memory is short', () => {
    const on = open({ memory: 22 << 20 });
    for (let n = 0; n < 8; n++) {
      const guest = create(on, { memory: 4 << 20 });
      expect(() => create(on, { memory: 4 << 20 })).toThrow(/the host has no 4 MiB of memory in one piece \(\d MiB at most\): end a guest/);
      on.advance(1000);
      guest.destroy();
    }
  });

  it('leaves no line in a cache that could come out over what the next one writes there, also where caches are not coherent', () => {
    const on = open({ cpu: 'naples', sme: true });
    const { machine, system } = on;
    const former = create(on, { technology: 'none' }, fills);
    on.advance(1000);
    former.destroy();
    const guest = create(on, { technology: 'sev-es' }, fills);
    expect(guest.guest.vm.config.ram).toEqual(former.guest.vm.config.ram);
    on.advance(1000);
    const { at, size } = guest.guest.vm.config.ram;
    const { frames } = machine.engine;
    frames.flushPage((at + 0x18_0000) / PAGE_SIZE, guest.asid);
    system.memory.flush(at, size); // lines of the host, if there were any, after the guest's
    system.wbinvd();
    const word = new Uint8Array(8);
    frames.read(at + 0x18_0000, guest.asid, word);
    expect(new DataView(word.buffer).getBigUint64(0, true)).toBe(0x5e_c2e7n);
  });

  it('keeps its ASID from others if the AMD-SP does not let go of it', () => {
    const on = open();
    const guest = create(on);
    const { mailbox } = on.machine.host;
    const read = mailbox.read.bind(mailbox);
    mailbox.read = () => ASP_ABSENT;
    expect(guest.destroy()).toBe('the AMD-SP answers DEACTIVATE with NO RESPONSE');
    mailbox.read = read;
    expect(on.asids()).toContainEqual({ asid: guest.asid, use: AsidUse.IN_USE, owner: null });
    const next = create(on);
    expect(next.asid).not.toBe(guest.asid);
    expect(next.state).toBe('running');
  });

  it('needs no memory for that: it can go when there is none left', () => {
    const on = open();
    const guest = create(on);
    while (on.system.heap.take(PAGE_SIZE) !== null);
    expect(guest.destroy()).toBeNull();
  });
});

describe('a guest that cannot be created', () => {
  it.each([
    ['for want of an ASID', { esAsids: 0 }, {}, 'no ASID for SEV-ES guests'],
    ['for want of memory', { memory: 20 << 20 }, { memory: 8 << 20 }, 'no 8 MiB of memory in one piece'],
    ['because its name is taken', {}, { name: 'taken' }, "there is a guest named 'taken' already"],
  ] as const)('%s leaves everything as it was', (_, options, given, message) => {
    const on = open(options);
    create(on, { name: 'taken', technology: 'sev', memory: 1 << 20, load: 0x8_0000 });
    const [free, asids, info] = [on.system.heap.free, on.asids(), on.info()];
    expect(() => create(on, given)).toThrow(UserError);
    expect(() => create(on, given)).toThrow(message);
    expect(on.system.heap.free).toBe(free);
    expect(on.asids()).toEqual(asids);
    expect(on.info()).toEqual(info);
  });

  it('because the AMD-SP does not answer costs nothing, however often it is tried, and the next one can be when it does', () => {
    const on = open();
    const { mailbox } = on.machine.host;
    const read = mailbox.read.bind(mailbox);
    mailbox.read = () => ASP_ABSENT;
    const attempt = (): number => {
      const guest = create(on);
      expect(guest.result().outcome).toEqual({ kind: 'stopped', reason: 'the AMD-SP answers INIT with NO RESPONSE' });
      expect(guest.destroy()).toBeNull();
      return on.system.heap.free;
    };
    expect(new Set([attempt(), attempt(), attempt()]).size).toBe(1);
    mailbox.read = read;
    expect(create(on).state).toBe('running');
  });

  it.each([false, true])('because whoever gets its trace throws something at any event leaves nothing (AMD-SP absent: %s)', (absent) => {
    const on = open({ traced: true });
    if (absent) on.machine.host.mailbox.read = () => ASP_ABSENT;
    const left = () => [
      on.system.heap.free,
      ...technologies.map((kind) => on.system.asids.count(kind, AsidUse.IN_USE)),
      on.info().asp?.guests,
    ];
    create(on).destroy();
    const before = left();
    for (let fatal = 0; ; fatal++) {
      let events = 0;
      const emit = (): void => {
        if (events++ === fatal) throw new RangeError('mine');
      };
      try {
        create(on, { trace: { emit } }).destroy();
      } catch (error) {
        expect(error).toEqual(new RangeError('mine'));
      }
      for (const guest of [...on.guests]) guest.destroy();
      expect(left()).toEqual(before);
      if (events <= fatal) {
        expect(fatal).toBeGreaterThan(absent ? 0 : 7);
        return;
      }
    }
  });

  it('because the hypervisor’s own memory ends anywhere on the way leaves none of it lost', () => {
    const on = open();
    expect(on.system.initialiseAsp()).toBeNull();
    const { heap } = on.system;
    const all: number[] = [];
    for (let at = heap.take(PAGE_SIZE); at !== null && at < 16 << 20; at = heap.take(PAGE_SIZE)) all.push(at);
    const ram = { at: 16 << 20, size: 2 << 20 };
    while (heap.free > 0) heap.take(PAGE_SIZE);
    heap.give(ram.at, ram.size);
    let pages = 0;
    for (let guest: HostedGuest | null = null; guest === null; pages++) {
      const before = heap.free;
      try {
        guest = create(on, { vcpus: 2 });
      } catch (error) {
        expect(error).toBeInstanceOf(UserError);
        expect(heap.free).toBe(before);
        expect(on.info().asp?.guests).toBe(0);
        heap.give(all.pop()!, PAGE_SIZE);
        continue;
      }
      expect(guest.state).toBe('running');
      expect(guest.destroy()).toBeNull();
      expect(heap.free).toBe(before);
    }
    expect(pages).toBeGreaterThan(5);
  });
});

describe('a host cannot be', () => {
  it.each([
    [{ memory: 8 << 20 }, "the host's memory"],
    [{ memory: 1 << 45 }, "the host's memory"],
    [{ memory: (64 << 20) + 1 }, "the host's memory"],
    [{ turn: 0 }, "a guest's turn"],
    [{ turn: Number.NaN }, "a guest's turn"],
    [{ hostCpus: 0 }, '--host-cpus'],
    [{ esAsids: 10_000 }, 'ASIDs for SEV-ES guests'],
    [{ cpu: 'z80' }, 'z80'],
  ])('with %o', (options, message) => {
    expect(() => open(options)).toThrow(UserError);
    expect(() => open(options)).toThrow(message);
  });
});
