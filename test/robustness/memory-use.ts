// How much memory the process holds on to: resident size with the garbage collected.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** MiB resident after collecting what can be collected. */
export function residentMebibytes(): number {
  collect();
  return process.memoryUsage().rss / 2 ** 20;
}
