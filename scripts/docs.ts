// `npm run docs`: writes the documents that are made from the code. The tests compare them.

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { renderErrors } from '../node/api/errors-document.ts';

const pathOf = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));

writeFileSync(pathOf('node/api/ERRORS.md'), renderErrors());
