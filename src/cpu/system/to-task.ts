// Task switches that an instruction asks for: far JMP and CALL, IRET with NT. APM vol. 2, 12.3.

import { ExitCode } from '../../arch/exit-code.ts';
import { pushesErrorCode } from '../../arch/exception.ts';
import { State } from '../../memory/state.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { Delivery, deliver } from '../delivery/deliver.ts';
import { Source } from '../delivery/event.ts';
import { NO_FAULT, type Processor } from '../processor.ts';
import { switchTask, type TaskSwitch } from '../task-switch.ts';
import { setNextRip } from './next-rip.ts';

/** What faults before the switch is the instruction's; what faults behind it is delivered in the new task. */
export function toTask(p: Processor, record: number, selector: number, by: TaskSwitch): SystemResult {
  setNextRip(p, record);
  p.inNewTask = false;
  if (switchTask(p, selector, by)) return SystemResult.MOVED;
  const vector = p.u32(State.FAULT_VECTOR) | 0;
  if (!p.inNewTask || vector === NO_FAULT) return SystemResult.FAULT;
  const outcome = deliver(p, Source.EXCEPTION, vector, pushesErrorCode(vector) ? p.u32(State.FAULT_CODE) : -1);
  if (outcome === Delivery.SHUTDOWN) p.exit(ExitCode.SHUTDOWN);
  return SystemResult.MOVED;
}
