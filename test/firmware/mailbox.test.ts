// The AMD-SP's registers. Publication 55766, mailbox; Linux drivers/crypto/ccp.

import { describe, expect, it } from 'vitest';
import { AspMailbox } from '../../firmware/mailbox.ts';
import { AspCommand, AspRegister, AspStatus, PlatformState } from '../../src/arch/asp.ts';
import { Box } from './box.ts';

const { CMD_RESP, CMD_BUF_ADDR_LO, CMD_BUF_ADDR_HI, FEATURE, INT_ENABLE, INT_STATUS } = AspRegister;

/** A mailbox whose processor writes down what it is asked. */
function recorded(status = 0) {
  const calls: { readonly id: number; readonly address: bigint }[] = [];
  let interrupts = 0;
  const processor = {
    execute: (id: number, address: bigint) => {
      calls.push({ id, address });
      return status;
    },
  };
  return { mailbox: new AspMailbox(processor, () => interrupts++), calls, interrupts: () => interrupts };
}

describe('the mailbox', () => {
  it('has the registers of the second generation', () => {
    expect(AspRegister).toEqual({
      INT_ENABLE: 0x10690,
      INT_STATUS: 0x10694,
      CMD_RESP: 0x10980,
      CMD_BUF_ADDR_LO: 0x109e0,
      CMD_BUF_ADDR_HI: 0x109e4,
      FEATURE: 0x109fc,
    });
  });

  it('carries a command out when CmdResp is written, with the buffer address of both halves', () => {
    const { mailbox, calls } = recorded();
    mailbox.write(CMD_BUF_ADDR_LO, 0xfedc_ba98);
    mailbox.write(CMD_BUF_ADDR_HI, 0x8765_4321);
    expect(calls).toEqual([]);
    mailbox.write(CMD_RESP, AspCommand.ACTIVATE << 16);
    expect(calls).toEqual([{ id: AspCommand.ACTIVATE, address: 0x8765_4321_fedc_ba98n }]);
    expect([mailbox.read(CMD_BUF_ADDR_LO), mailbox.read(CMD_BUF_ADDR_HI)]).toEqual([0xfedc_ba98, 0x8765_4321]);
  });

  it('answers in CmdResp: bit 31 set, the status below', () => {
    const { mailbox } = recorded(AspStatus.DFFLUSH_REQUIRED);
    expect(mailbox.read(CMD_RESP)).toBe(0);
    mailbox.write(CMD_RESP, AspCommand.NOP << 16);
    expect(mailbox.read(CMD_RESP)).toBe(0x8000_000f);
  });

  it('takes a value with bit 31 for no command', () => {
    const { mailbox, calls } = recorded();
    mailbox.write(CMD_RESP, 0xffff_ffff);
    mailbox.write(CMD_RESP, -1);
    expect(calls).toEqual([]);
    expect(mailbox.read(CMD_RESP)).toBe(0xffff_ffff);
  });

  it('reports completion in the interrupt status only if the command asked, and interrupts only if enabled', () => {
    const { mailbox, interrupts } = recorded();
    mailbox.write(CMD_RESP, AspCommand.NOP << 16);
    expect(mailbox.read(INT_STATUS)).toBe(0);
    mailbox.write(CMD_RESP, (AspCommand.NOP << 16) | 1);
    expect([mailbox.read(INT_STATUS), interrupts()]).toEqual([2, 0]);
    mailbox.write(INT_STATUS, 2);
    expect(mailbox.read(INT_STATUS)).toBe(0);
    mailbox.write(INT_ENABLE, -1);
    expect(mailbox.read(INT_ENABLE)).toBe(0xffff_ffff);
    mailbox.write(CMD_RESP, (AspCommand.NOP << 16) | 1);
    expect([mailbox.read(INT_STATUS), interrupts()]).toEqual([2, 1]);
  });

  it('offers SEV in the feature register, which is read-only', () => {
    const { mailbox } = recorded();
    mailbox.write(FEATURE, 0);
    expect(mailbox.read(FEATURE)).toBe(1);
  });

  it('reads as all ones where there is no register', () => {
    const { mailbox, calls } = recorded();
    mailbox.write(0x1_0000, AspCommand.INIT << 16);
    expect(mailbox.read(0x1_0000)).toBe(0xffff_ffff);
    expect(calls).toEqual([]);
  });

  it('reaches the AMD-SP', () => {
    const box = new Box();
    box.write(0x1000, new Uint8Array(0x14));
    box.mailbox.write(CMD_BUF_ADDR_LO, 0x1000);
    box.mailbox.write(CMD_RESP, AspCommand.INIT << 16);
    expect(box.mailbox.read(CMD_RESP)).toBe(0x8000_0000);
    expect(box.platformStatus().state).toBe(PlatformState.INIT);
    box.mailbox.write(CMD_RESP, AspCommand.INIT << 16);
    expect(box.mailbox.read(CMD_RESP)).toBe(0x8000_0001);
  });
});
