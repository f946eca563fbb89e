// The AMD-SP's registers in the PCI function's BAR 2, second generation. A write of CmdResp starts a command and its answer
// is there at the next read: the AMD-SP takes no time. Publication 55766, chapter on the mailbox; Linux drivers/crypto/ccp.

import { ASP_ABSENT, AspFeature, AspRegister, CmdResp, SEV_COMMAND_COMPLETE } from '../src/arch/asp.ts';
import type { Fields, Stateful } from '../src/util/stateful.ts';

/** Whoever carries a command out. */
export interface CommandProcessor {
  execute(id: number, address: bigint): number;
}

export class AspMailbox implements Stateful {
  readonly #processor: CommandProcessor;
  readonly #interrupt: (() => void) | null;
  #cmdResp = 0;
  #addressLow = 0;
  #addressHigh = 0;
  #intEnable = 0;
  #intStatus = 0;

  /** `interrupt`: raises the line on completion; null: nobody listens. */
  constructor(processor: CommandProcessor, interrupt: (() => void) | null = null) {
    this.#processor = processor;
    this.#interrupt = interrupt;
  }

  read(offset: number): number {
    switch (offset) {
      case AspRegister.INT_ENABLE:
        return this.#intEnable;
      case AspRegister.INT_STATUS:
        return this.#intStatus;
      case AspRegister.CMD_RESP:
        return this.#cmdResp;
      case AspRegister.CMD_BUF_ADDR_LO:
        return this.#addressLow;
      case AspRegister.CMD_BUF_ADDR_HI:
        return this.#addressHigh;
      case AspRegister.FEATURE:
        return AspFeature.SEV;
      default:
        return ASP_ABSENT;
    }
  }

  write(offset: number, value: number): void {
    switch (offset) {
      case AspRegister.INT_ENABLE:
        this.#intEnable = value >>> 0;
        return;
      case AspRegister.INT_STATUS:
        this.#intStatus = (this.#intStatus & ~value) >>> 0;
        return;
      case AspRegister.CMD_RESP:
        this.#command(value >>> 0);
        return;
      case AspRegister.CMD_BUF_ADDR_LO:
        this.#addressLow = value >>> 0;
        return;
      case AspRegister.CMD_BUF_ADDR_HI:
        this.#addressHigh = value >>> 0;
        return;
    }
  }

  #command(value: number): void {
    this.#cmdResp = value;
    if ((value & CmdResp.RESPONSE) !== 0) return; // not a command: a done one, as the host would have it
    const id = (value >>> CmdResp.COMMAND_SHIFT) & CmdResp.COMMAND_MASK;
    const status = this.#processor.execute(id, (BigInt(this.#addressHigh) << 32n) | BigInt(this.#addressLow));
    this.#cmdResp = (CmdResp.RESPONSE | (status & CmdResp.STATUS_MASK)) >>> 0;
    if ((value & CmdResp.INTERRUPT_ON_COMPLETION) === 0) return;
    this.#intStatus |= SEV_COMMAND_COMPLETE;
    if ((this.#intEnable & SEV_COMMAND_COMPLETE) !== 0) this.#interrupt?.();
  }

  exchange(fields: Fields): void {
    this.#cmdResp = fields.value(this.#cmdResp);
    this.#addressLow = fields.value(this.#addressLow);
    this.#addressHigh = fields.value(this.#addressHigh);
    this.#intEnable = fields.value(this.#intEnable);
    this.#intStatus = fields.value(this.#intStatus);
  }
}
