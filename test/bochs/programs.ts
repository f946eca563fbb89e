// All programs. Each has test/bochs/expected/<name>.txt.

import { control } from './cases/control.ts';
import { interrupts } from './cases/interrupts.ts';
import { longMode } from './cases/long-mode.ts';
import { longModeTransfers } from './cases/long-mode-transfers.ts';
import { newerFeatures } from './cases/newer-features.ts';
import { paging32 } from './cases/paging-32.ts';
import { paging64 } from './cases/paging-64.ts';
import { realMode } from './cases/real-mode.ts';
import { segmentLimits } from './cases/segment-limits.ts';
import { segmentLoads } from './cases/segment-loads.ts';
import { tasks } from './cases/tasks.ts';
import { transfers } from './cases/transfers.ts';
import { verify } from './cases/verify.ts';
import { virtual8086 } from './cases/virtual-8086.ts';
import type { Program } from './program.ts';
import { runtime16 } from './runtime-16.ts';
import { runtime32 } from './runtime-32.ts';
import { runtime64 } from './runtime-64.ts';

const legacy = { bochsCpu: 'ryzen', runtime: runtime32 } as const;

const long = { bochsCpu: 'ryzen', runtime: runtime64 } as const;

export const programs: readonly Program[] = [
  { ...legacy, name: 'segment-loads', cases: segmentLoads },
  { ...legacy, name: 'segment-limits', cases: segmentLimits },
  { ...legacy, name: 'verify', cases: verify },
  { ...legacy, name: 'transfers', cases: transfers },
  { ...legacy, name: 'interrupts', cases: interrupts },
  { ...legacy, name: 'tasks', cases: tasks },
  { ...legacy, name: 'virtual-8086', cases: virtual8086 },
  { ...legacy, name: 'paging-32', cases: paging32 },
  { ...legacy, name: 'control', cases: control },
  { ...long, name: 'long-mode', cases: [...longMode, ...longModeTransfers] },
  { ...long, name: 'paging-64', cases: paging64 },
  { bochsCpu: 'ryzen', runtime: runtime16, name: 'real-mode', cases: realMode },
  { bochsCpu: 'corei7_icelake_u', runtime: runtime64, name: 'newer-features', cases: newerFeatures },
];
