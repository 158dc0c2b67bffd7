// The python buildpack, from an upload to an app that answers.

import { beforeAll, describe, expect, it } from 'vitest';
import { asAppId } from '../../../crdt/ids.ts';
import type { Files } from '../harness.ts';
import { createPacks } from './packs.ts';

const packs = createPacks();

describe('python', () => {
  it("runs the sample app with the stack's Python", async () => {
    const staged = await packs.stage('hello-python');
    expect(staged.droplet).toMatchObject({ buildpack: 'python', processes: { web: 'python3 app.py' } });
    expect(staged.output).toContain('No packages to install');
    expect(await packs.get((await packs.start(staged, { CF_INSTANCE_INDEX: '1' })).url)).toBe(
      'hello from python, index 1\n',
    );
  });

  it('installs requirements into the droplet, and takes them from the cache the next time', async () => {
    packs.registry.python('made-up', '1.5', { 'made_up.py': 'VALUE = "hello from a package"\n' });
    const files = {
      'main.py':
        'import made_up, os\nfrom http.server import *\nclass H(BaseHTTPRequestHandler):\n  def do_GET(self):\n    self.send_response(200); self.end_headers(); self.wfile.write(made_up.VALUE.encode())\nHTTPServer(("127.0.0.1", int(os.environ["PORT"])), H).serve_forever()\n',
      'requirements.txt': '# pinned\nmade-up==1.5\n',
    };
    const app = { id: asAppId('python-packages'), name: 'a' };
    const first = await packs.stage(files, { app });
    expect(first.output).toContain('Installing packages');
    expect(await packs.get((await packs.start(first)).url)).toBe('hello from a package');
    packs.registry.requests.length = 0;
    const again = await packs.stage(files, { app });
    expect(again.output).toContain('Packages from the cache');
    expect(packs.registry.requests).toEqual([]);
    expect(again.droplet).toEqual(first.droplet);
  });

  it('fails with what pip says when a package does not exist', async () => {
    const failure = await packs.failing({ 'app.py': '', 'requirements.txt': 'no-such-package==1.0\n' });
    expect(failure).toMatchObject({ code: 'compile_failed', message: expect.stringContaining('no-such-package') });
  });

  it.each<[string, Files, RegExp]>([
    [
      '.python-version',
      { '.python-version': '2.7\n' },
      /no Python 2\.7 \(\.python-version\) on this node; there are: .*3\.\d+/,
    ],
    ['runtime.txt', { 'runtime.txt': 'python-3.4.10\n' }, /no Python 3\.4\.10 \(runtime\.txt\) on this node/],
    [
      'pyproject.toml',
      { 'pyproject.toml': '[project]\nname = "a"\nrequires-python = ">=4"\n' },
      /no Python ">=4" \(requires-python in pyproject\.toml\) on this node/,
    ],
  ])('says which Pythons there are when %s asks for none of them', async (_name, files, message) => {
    expect(await packs.failing({ 'app.py': '', ...files })).toMatchObject({
      code: 'compile_failed',
      message: expect.stringMatching(message),
    });
  });

  it.each<[string, Files, RegExp]>([
    ['no TOML', { 'pyproject.toml': '[project' }, /pyproject\.toml: /],
    [
      'packages in the form of Poetry only',
      { 'pyproject.toml': '[tool.poetry]\nname = "a"\n' },
      /write the packages down in requirements\.txt/,
    ],
    ['a Pipfile only', { Pipfile: '[packages]\n' }, /a Pipfile is not read here/],
  ])('refuses %s', async (_name, files, message) => {
    expect(await packs.failing(files)).toMatchObject({
      code: 'compile_failed',
      message: expect.stringMatching(message),
    });
  });

  describe('starts', () => {
    beforeAll(() => {
      for (const server of ['gunicorn', 'uvicorn', 'waitress']) {
        packs.registry.python(server, '1.0', { [`${server}/__init__.py`]: '' });
      }
    });
    const host = `\${HOST:-0.0.0.0}`;
    const address = `${host}:$PORT`;
    it.each<[string, Files, string]>([
      [
        'a WSGI application with Gunicorn',
        { 'requirements.txt': 'gunicorn', 'app.py': 'app = 1' },
        `gunicorn --bind ${address} app:app`,
      ],
      [
        "a framework's nested one",
        { 'requirements.txt': 'gunicorn', 'manage.py': '', 'site/wsgi.py': 'application = 1' },
        `gunicorn --bind ${address} site.wsgi:application`,
      ],
      [
        'an ASGI application with Uvicorn',
        { 'requirements.txt': 'uvicorn', 'main.py': 'from fastapi import FastAPI\napp = FastAPI()' },
        `uvicorn --host ${host} --port $PORT main:app`,
      ],
      [
        'a WSGI application with Waitress',
        { 'requirements.txt': 'waitress', 'wsgi.py': 'def app(e, s): pass' },
        `waitress-serve --listen=${address} wsgi:app`,
      ],
      ['the file itself without a server', { 'app.py': 'app = 1' }, 'python3 app.py'],
      ['what the Procfile says', { 'app.py': '', Procfile: 'web: python3 -m app' }, 'python3 -m app'],
      [
        'the server of Django for want of another',
        { 'manage.py': '' },
        `python3 manage.py runserver --noreload ${address}`,
      ],
    ])('%s', async (_name, files, command) => {
      expect((await packs.stage(files)).droplet.processes.web).toBe(command);
    });
  });
});
