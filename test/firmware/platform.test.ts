// Platform state machine and platform commands. Publication 55766; order of the checks as the published firmware has it.

import { describe, expect, it } from 'vitest';
import { ASP_API, AspCommand, AspStatus, InitBuffer, PlatformState, TMR_SIZE } from '../../src/arch/asp.ts';
import { Syscfg } from '../../src/arch/sev-features.ts';
import { Box, DRAM_SIZE, ES_ASID, launching, MEASURE_AT, PAGE, ready, running, SEV_ASID, TMR } from './box.ts';

const es = { flags: 1, tmrPaddr: BigInt(TMR), tmrLength: TMR_SIZE };

describe('INIT', () => {
  it('takes the platform from UNINIT to INIT', () => {
    const box = new Box();
    expect(box.platformStatus()).toMatchObject({ state: PlatformState.UNINIT, config: 0 });
    expect(box.init()).toBe('SUCCESS');
    expect(box.platformStatus()).toMatchObject({ state: PlatformState.INIT, config: 1 });
  });

  it('in any other state gives INVALID_PLATFORM_STATE', () => {
    const box = ready();
    expect(box.init()).toBe('INVALID_PLATFORM_STATE');
    box.start(0);
    expect(box.init()).toBe('INVALID_PLATFORM_STATE');
  });

  it('without memory encryption enabled in SYSCFG gives HWERROR_PLATFORM, whatever the flags', () => {
    const box = new Box();
    box.syscfg = 0;
    expect(box.init({ flags: 0xffff_ffff })).toBe('HWERROR_PLATFORM');
  });

  it('with a reserved flag gives INVALID_CONFIG, whatever else is wrong', () => {
    const box = new Box();
    box.syscfg |= Syscfg.SECURE_NESTED_PAGING_EN;
    expect(box.init({ ...es, flags: 3, tmrPaddr: 1n })).toBe('INVALID_CONFIG');
  });

  it('with secure nested paging enabled and no RMP initialised gives INVALID_PLATFORM_STATE', () => {
    const box = new Box();
    box.syscfg |= Syscfg.SECURE_NESTED_PAGING_EN;
    expect(box.init({ ...es, tmrPaddr: 1n })).toBe('INVALID_PLATFORM_STATE');
  });

  it.each([
    ['not aligned to 1 MiB', { tmrPaddr: BigInt(TMR + 0x1000) }],
    ['shorter than 1 MiB', { tmrLength: TMR_SIZE / 2 }],
    ['of a broken length', { tmrLength: TMR_SIZE + 0x1000 }],
    ['of no length', { tmrLength: 0 }],
    ['beyond DRAM', { tmrPaddr: BigInt(DRAM_SIZE) }],
    ['partly beyond DRAM', { tmrPaddr: BigInt(DRAM_SIZE - TMR_SIZE), tmrLength: 2 * TMR_SIZE }],
    ['with a C-bit', { tmrPaddr: BigInt(TMR) | (1n << 51n) }],
    ['at the end of the address space', { tmrPaddr: 0xffff_ffff_fff0_0000n }],
  ])('with a trusted memory region %s gives INVALID_ADDRESS and stays in UNINIT', (_, fields) => {
    const box = new Box();
    expect(box.init({ ...es, ...fields })).toBe('INVALID_ADDRESS');
    expect(box.platformStatus().state).toBe(PlatformState.UNINIT);
    expect(box.trustedMemory.length).toBe(0);
  });

  it('without the ES flag wants no trusted memory region', () => {
    const box = new Box();
    expect(box.init({ flags: 0, tmrPaddr: 1n })).toBe('SUCCESS');
    expect(box.platformStatus().config).toBe(0);
  });

  it('fences the trusted memory region off from the host', () => {
    const box = new Box();
    box.write(TMR, Uint8Array.of(1, 2, 3));
    box.init();
    expect([...box.read(TMR, 3)]).toEqual([0xff, 0xff, 0xff]);
    box.write(TMR + 0x8_0000, Uint8Array.of(7));
    expect(box.dram.peek((TMR + 0x8_0000) / 4096)?.[0] ?? 0).toBe(0);
  });
});

describe('SHUTDOWN', () => {
  it('is taken in any state and leads to UNINIT', () => {
    for (const box of [new Box(), ready(), launching().box]) {
      expect(box.plain('SHUTDOWN')).toBe('SUCCESS');
      expect(box.platformStatus()).toMatchObject({ state: PlatformState.UNINIT, config: 0, guestCount: 0 });
    }
  });

  it('ends guests, active ones too, and gives the trusted memory region back without its values', () => {
    const { box, handle, asid } = launching();
    box.write(PAGE, new Uint8Array(4096));
    box.region('LAUNCH_UPDATE_VMSA', handle, PAGE, 4096);
    box.plain('SHUTDOWN');
    expect(box.asids.owner(asid)).toBe(0);
    expect(box.trustedMemory.length).toBe(0);
    expect([...box.read(TMR + 0x8_0000, 16)]).toEqual(new Array(16).fill(0));
    expect(box.init()).toBe('SUCCESS');
  });

  it("takes the guests' keys out of their slots", () => {
    const { box, asid } = running();
    box.frames.write(PAGE, asid, Uint8Array.of(1, 2, 3, 4));
    box.frames.wbinvd();
    box.plain('SHUTDOWN');
    const seen = new Uint8Array(4);
    box.frames.read(PAGE, asid, seen);
    expect([...seen]).not.toEqual([1, 2, 3, 4]);
  });

  it.each([
    ['clean', (box: Box) => box.flush()],
    ['not clean', () => 0],
  ])('and INIT again leave every ASID dirty, were they %s before', (_, before) => {
    const { box } = running();
    before(box);
    box.plain('SHUTDOWN');
    expect(box.plain('DF_FLUSH')).toBe('SUCCESS'); // in UNINIT nothing is known to be dirty
    box.init();
    const [encrypted, plain] = [box.start(4), box.start(0)];
    for (const [handle, asid] of [
      [encrypted, 1],
      [encrypted, 4],
      [plain, 5],
      [plain, 15],
    ] as const)
      expect(box.activate(handle, asid)).toBe('DFFLUSH_REQUIRED');
    expect(box.plain('DF_FLUSH')).toBe('WBINVD_REQUIRED');
    expect(box.flush()).toBe('SUCCESS');
    expect(box.activate(encrypted, 4)).toBe('SUCCESS');
  });
});

describe('PLATFORM_STATUS', () => {
  it('reports API version, build, owner, configuration and guests in any state', () => {
    const box = ready();
    box.start(0);
    const { apiMajor, apiMinor, build, state, owner, config, guestCount } = box.platformStatus();
    expect({ apiMajor, apiMinor, build, state, owner, config, guestCount }).toEqual({
      apiMajor: 0,
      apiMinor: 24,
      build: ASP_API.build,
      state: PlatformState.WORKING,
      owner: 0,
      config: 1,
      guestCount: 1,
    });
  });

  it('writes exactly 0Ch bytes', () => {
    const box = new Box();
    box.write(0x1000, new Uint8Array(16).fill(0xee));
    box.asp.execute(AspCommand.PLATFORM_STATUS, 0x1000n);
    expect([...box.read(0x100c, 4)]).toEqual([0xee, 0xee, 0xee, 0xee]);
  });
});

describe('DF_FLUSH', () => {
  it('after INIT gives WBINVD_REQUIRED until every processor has executed WBINVD', () => {
    const box = new Box(2);
    expect(box.plain('DF_FLUSH')).toBe('SUCCESS');
    box.init();
    expect(box.plain('DF_FLUSH')).toBe('WBINVD_REQUIRED');
    box.asids.wbinvd(0);
    expect(box.plain('DF_FLUSH')).toBe('WBINVD_REQUIRED');
    box.asids.wbinvd(1);
    expect(box.plain('DF_FLUSH')).toBe('SUCCESS');
  });

  it('after a guest that could run asks for WBINVD on every processor again, wherever it ran', () => {
    const box = new Box(2);
    box.init();
    box.flush(2);
    const handle = box.start(4);
    box.activate(handle, ES_ASID);
    box.region('LAUNCH_MEASURE', handle, MEASURE_AT, 48);
    box.forGuest('LAUNCH_FINISH', handle);
    box.asids.entered(ES_ASID, 1);
    expect(box.plain('DF_FLUSH')).toBe('SUCCESS');
    box.forGuest('DEACTIVATE', handle);
    box.asids.wbinvd(1);
    expect(box.plain('DF_FLUSH')).toBe('WBINVD_REQUIRED');
    expect(box.activate(handle, ES_ASID)).toBe('DFFLUSH_REQUIRED');
    box.asids.wbinvd(0);
    expect(box.plain('DF_FLUSH')).toBe('SUCCESS');
    expect(box.activate(handle, ES_ASID)).toBe('SUCCESS');
  });

  it('that is refused leaves the ASIDs of other guests as they are', () => {
    const { box, handle } = running();
    const other = box.start(0);
    box.activate(other, SEV_ASID);
    box.forGuest('DEACTIVATE', handle);
    expect(box.plain('DF_FLUSH')).toBe('WBINVD_REQUIRED');
    expect(box.guestStatus(other)).toMatchObject({ asid: SEV_ASID });
    expect(box.asids.pending(SEV_ASID)).toBe(true);
  });

  it('with nothing dirty wants no WBINVD', () => {
    expect(ready().plain('DF_FLUSH')).toBe('SUCCESS');
  });
});

describe('the dispatcher', () => {
  const built: ReadonlySet<number> = new Set([
    AspCommand.INIT,
    AspCommand.SHUTDOWN,
    AspCommand.PLATFORM_STATUS,
    AspCommand.DF_FLUSH,
    AspCommand.NOP,
    AspCommand.DECOMMISSION,
    AspCommand.ACTIVATE,
    AspCommand.DEACTIVATE,
    AspCommand.GUEST_STATUS,
    AspCommand.LAUNCH_START,
    AspCommand.LAUNCH_UPDATE_DATA,
    AspCommand.LAUNCH_UPDATE_VMSA,
    AspCommand.LAUNCH_MEASURE,
    AspCommand.LAUNCH_FINISH,
  ]);

  it('answers INVALID_COMMAND to every ID that it has no command for', () => {
    const box = ready();
    for (let id = 0; id < 0x400; id++) if (!built.has(id)) expect(box.asp.execute(id, 0n), `ID ${id}`).toBe(AspStatus.INVALID_COMMAND);
  });

  it.each([
    ['beyond DRAM', BigInt(DRAM_SIZE)],
    ['partly beyond DRAM', BigInt(DRAM_SIZE - 1)],
    ['with a C-bit', 0x1000n | (1n << 51n)],
    ['at the end of the address space', 0xffff_ffff_ffff_fffen],
    ['in the trusted memory region', BigInt(TMR + 0x10)],
    ['reaching into the trusted memory region', BigInt(TMR - 1)],
  ])('answers INVALID_ADDRESS to a command buffer %s', (_, address) => {
    expect(ready().asp.execute(AspCommand.PLATFORM_STATUS, address)).toBe(AspStatus.INVALID_ADDRESS);
  });

  it('takes a command buffer at any alignment and across pages', () => {
    const box = new Box();
    const { bytes } = InitBuffer.create();
    box.write(0x1ff7, bytes);
    expect(box.asp.execute(AspCommand.INIT, 0x1ff7n)).toBe(AspStatus.SUCCESS);
    expect(box.platformStatus().state).toBe(PlatformState.INIT);
  });

  it('NOP does nothing in any state and needs no buffer', () => {
    for (const box of [new Box(), ready(), running().box])
      expect(box.asp.execute(AspCommand.NOP, (1n << 64n) - 1n)).toBe(AspStatus.SUCCESS);
  });
});
