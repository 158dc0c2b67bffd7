// Compose files in the shapes in which public repositories have them (docker/awesome-compose, and the samples of the
// programs themselves), written anew: what each needs to run here is what its refusal names, and no more.

export type Shape = {
  name: string;
  before: string;
  /** What is said of it, clause by clause; none: it is taken as it is. */
  says: readonly string[];
  /** What has no effect in it, once it is taken. */
  ignores?: readonly string[];
  /** With those changes. */
  after?: string;
  /** Apps, with the services that they are bound to and where they have volumes. */
  apps: Readonly<Record<string, { services?: readonly string[]; volumes?: readonly string[] }>>;
};

const provider = (kind: string): string => `provider: {type: peer, options: {kind: ${kind}}}`;
const server = (name: string, kind: string, variables: string): string =>
  `services.${name} (a ${kind} server is a service here, with credentials of its own: write ${provider(kind)} as all it holds, and depends_on at what uses it, which finds them in ${variables}`;
const POSTGRES = 'DATABASE_URL, PGHOST, PGUSER, PGPASSWORD …)';
const MYSQL = 'DATABASE_URL, MYSQL_HOST, MYSQL_USER, MYSQL_PASSWORD …)';
const REDIS = 'REDIS_URL, REDIS_HOST, REDIS_USERNAME, REDIS_PASSWORD …)';
const elsewhere = (app: string, database: string, rest: string): string =>
  `services.${app}.environment (${database} is at another address, with other credentials: ${rest})`;
const POSTGRES_SERVER = `
    image: postgres:16-alpine
    environment: {POSTGRES_USER: app, POSTGRES_PASSWORD: not-a-secret, POSTGRES_DB: app}
    restart: always
    volumes: ["db_data:/var/lib/postgresql/data"]`;

export const SHAPES: readonly Shape[] = [
  {
    name: 'wordpress with MySQL',
    before: `
services:
  db:
    image: mariadb:10.6.4-focal
    command: '--default-authentication-plugin=mysql_native_password'
    volumes: ["db_data:/var/lib/mysql"]
    restart: always
    environment:
    - MYSQL_ROOT_PASSWORD=not-a-root-secret
    - MYSQL_DATABASE=wordpress
    - MYSQL_USER=wp
    - MYSQL_PASSWORD=not-a-secret
    expose: [3306, 33060]
  wordpress:
    image: wordpress:latest
    volumes: ["wp_data:/var/www/html"]
    ports: ["80:80"]
    restart: always
    environment:
    - WORDPRESS_DB_HOST=db
    - WORDPRESS_DB_USER=wp
    - WORDPRESS_DB_PASSWORD=not-a-secret
    - WORDPRESS_DB_NAME=wordpress
volumes: {db_data: , wp_data: }`,
    says: [
      server('db', 'mysql', MYSQL),
      elsewhere(
        'wordpress',
        'db',
        'write WORDPRESS_DB_HOST: $$(MYSQL_HOST), WORDPRESS_DB_USER: $$(MYSQL_USER), WORDPRESS_DB_PASSWORD: $$(MYSQL_PASSWORD), WORDPRESS_DB_NAME: $$(MYSQL_DATABASE)',
      ),
      'services.wordpress (write depends_on: [db])',
    ],
    after: `
services:
  db:
    ${provider('mysql')}
  wordpress:
    image: wordpress:latest
    volumes: ["wp_data:/var/www/html"]
    ports: ["80:80"]
    restart: always
    depends_on: [db]
    environment:
    - WORDPRESS_DB_HOST=$$(MYSQL_HOST)
    - WORDPRESS_DB_USER=$$(MYSQL_USER)
    - WORDPRESS_DB_PASSWORD=$$(MYSQL_PASSWORD)
    - WORDPRESS_DB_NAME=$$(MYSQL_DATABASE)
volumes: {db_data: , wp_data: }`,
    apps: { wordpress: { services: ['db'], volumes: ['/var/www/html'] } },
  },
  {
    name: 'gitea with PostgreSQL',
    before: `
services:
  gitea:
    image: gitea/gitea:latest
    environment: ["DB_TYPE=postgres", "DB_HOST=db:5432", "DB_NAME=app", "DB_USER=app", "DB_PASSWD=not-a-secret"]
    restart: always
    volumes: ["git_data:/data"]
    ports: ["3000:3000"]
  db:${POSTGRES_SERVER}
    expose: [5432]
volumes: {db_data: , git_data: }`,
    says: [
      server('db', 'postgres', POSTGRES),
      elsewhere(
        'gitea',
        'db',
        'write DB_HOST: $$(PGHOST):$$(PGPORT), DB_NAME: $$(PGDATABASE), DB_USER: $$(PGUSER), DB_PASSWD: $$(PGPASSWORD)',
      ),
      'services.gitea (write depends_on: [db])',
    ],
    after: `
services:
  gitea:
    image: gitea/gitea:latest
    depends_on: [db]
    environment: ["DB_TYPE=postgres", "DB_HOST=$$(PGHOST):$$(PGPORT)", "DB_NAME=$$(PGDATABASE)", "DB_USER=$$(PGUSER)", "DB_PASSWD=$$(PGPASSWORD)"]
    restart: always
    volumes: ["git_data:/data"]
    ports: ["3000:3000"]
  db: {${provider('postgres')}}
volumes: {db_data: , git_data: }`,
    apps: { gitea: { services: ['db'], volumes: ['/data'] } },
  },
  {
    name: 'nextcloud with Redis and MariaDB, in networks',
    before: `
services:
  nc:
    image: nextcloud:apache
    restart: always
    ports: ["80:80"]
    volumes: ["nc_data:/var/www/html"]
    networks: [redisnet, dbnet]
    environment: ["REDIS_HOST=redis", "MYSQL_HOST=db", "MYSQL_DATABASE=cloud", "MYSQL_USER=cloud", "MYSQL_PASSWORD=not-a-secret"]
  redis: {image: "redis:alpine", restart: always, networks: [redisnet]}
  db:
    image: mariadb
    command: --transaction-isolation=READ-COMMITTED --binlog-format=ROW
    networks: [dbnet]
    volumes: ["db_data:/var/lib/mysql"]
    environment: ["MYSQL_DATABASE=cloud", "MYSQL_USER=cloud", "MYSQL_ROOT_PASSWORD=root", "MYSQL_PASSWORD=not-a-secret"]
volumes: {db_data: , nc_data: }
networks: {dbnet: , redisnet: }`,
    says: [
      server('redis', 'redis', REDIS),
      server('db', 'mysql', MYSQL),
      elsewhere(
        'nc',
        'redis',
        'remove REDIS_HOST, which it gets by itself; it has to log in, as $$(REDIS_USERNAME) with $$(REDIS_PASSWORD)',
      ),
      elsewhere('nc', 'db', 'remove MYSQL_HOST, MYSQL_DATABASE, MYSQL_USER, MYSQL_PASSWORD, which it gets by itself'),
      'services.nc (write depends_on: [redis, db])',
    ],
    ignores: ['services.nc.networks', 'networks'],
    after: `
services:
  nc:
    image: nextcloud:apache
    restart: always
    ports: ["80:80"]
    volumes: ["nc_data:/var/www/html"]
    networks: [redisnet, dbnet]
    depends_on: [redis, db]
    environment: ["REDIS_HOST_PASSWORD=$$(REDIS_PASSWORD)"]
  redis: {${provider('redis')}}
  db: {${provider('mysql')}}
volumes: {db_data: , nc_data: }
networks: {dbnet: , redisnet: }`,
    apps: { nc: { services: ['redis', 'db'], volumes: ['/var/www/html'] } },
  },
  {
    name: 'a Go server with PostgreSQL behind nginx, with a secret and a configuration of the machine',
    before: `
services:
  backend:
    build: {context: backend, target: builder}
    secrets: [db-password]
    depends_on: {db: {condition: service_healthy}}
  db:
    image: postgres
    user: postgres
    secrets: [db-password]
    volumes: ["db-data:/var/lib/postgresql"]
    environment: ["POSTGRES_DB=example", "POSTGRES_PASSWORD_FILE=/run/secrets/db-password"]
    healthcheck: {test: ["CMD", "pg_isready"], interval: 10s}
  proxy:
    image: nginx
    volumes: [{type: bind, source: ./proxy/nginx.conf, target: /etc/nginx/conf.d/default.conf, read_only: true}]
    ports: ["80:80"]
    depends_on: [backend]
volumes: {db-data: }
secrets: {db-password: {file: db/password.txt}}`,
    says: [
      'services.backend.build.target (remove it)',
      'services.backend.secrets (use environment)',
      server('db', 'postgres', POSTGRES),
      'services.proxy.volumes (./proxy/nginx.conf: instances see no folders of the machine: put files into the image or the folder that is pushed, and name a volume for data, such as data:/data)',
      'secrets (use environment)',
    ],
    after: `
services:
  backend:
    build: {context: backend}
    depends_on: {db: {condition: service_healthy}}
  db: {${provider('postgres')}}
  proxy:
    build: proxy
    ports: ["80:80"]
    depends_on: [backend]
volumes: {db-data: }`,
    apps: { backend: { services: ['db'] }, proxy: {} },
  },
  {
    name: 'pgAdmin beside PostgreSQL',
    before: `
services:
  postgres:
    container_name: postgres
    image: postgres:latest
    environment: ["POSTGRES_USER=app", "POSTGRES_PASSWORD=not-a-secret", "POSTGRES_DB=app"]
    ports: ["5432:5432"]
  pgadmin:
    container_name: pgadmin
    image: dpage/pgadmin4:latest
    environment: ["PGADMIN_DEFAULT_EMAIL=ada@example.org", "PGADMIN_DEFAULT_PASSWORD=not-a-secret-either"]
    ports: ["5050:80"]
    restart: always`,
    says: [server('postgres', 'postgres', POSTGRES)],
    ignores: ['services.pgadmin.container_name'],
    after: `
services:
  postgres: {${provider('postgres')}}
  pgadmin:
    container_name: pgadmin
    image: dpage/pgadmin4:latest
    environment: ["PGADMIN_DEFAULT_EMAIL=ada@example.org", "PGADMIN_DEFAULT_PASSWORD=not-a-secret-either"]
    ports: ["5050:80"]
    restart: always
    depends_on: [postgres]`,
    apps: { pgadmin: { services: ['postgres'] } },
  },
  {
    name: 'Odoo with PostgreSQL, folders of the machine and a terminal',
    before: `
services:
  odoo:
    image: odoo:16.0
    platform: linux/amd64
    depends_on: [postgres]
    tty: true
    ports: ["8069:8069"]
    environment: ["HOST=postgres"]
    volumes: ["odoo-data:/var/lib/odoo", "./conf:/etc/odoo"]
  postgres:
    image: postgres:14.5
    environment: ["POSTGRES_DB=postgres", "POSTGRES_PASSWORD=not-a-secret", "POSTGRES_USER=odoo"]
    volumes: ["psql-data:/var/lib/postgresql/data/pgdata"]
volumes: {odoo-data: , psql-data: }`,
    says: [
      'services.odoo.volumes (./conf: instances see no folders of the machine: put files into the image or the folder that is pushed, and name a volume for data, such as data:/data)',
      server('postgres', 'postgres', POSTGRES),
      elsewhere('odoo', 'postgres', 'write HOST: $$(PGHOST); it has to log in, as $$(PGUSER) with $$(PGPASSWORD)'),
    ],
    ignores: ['services.odoo.platform', 'services.odoo.tty'],
    after: `
services:
  odoo:
    image: odoo:16.0
    platform: linux/amd64
    tty: true
    depends_on: [postgres]
    ports: ["8069:8069"]
    environment: ["HOST=$$(PGHOST)", "USER=$$(PGUSER)", "PASSWORD=$$(PGPASSWORD)"]
    volumes: ["odoo-data:/var/lib/odoo"]
  postgres: {${provider('postgres')}}
volumes: {odoo-data: , psql-data: }`,
    apps: { odoo: { services: ['postgres'], volumes: ['/var/lib/odoo'] } },
  },
  {
    name: 'a Go server with Redis',
    before: `
services:
  app:
    build: ./app
    ports: ["8080:8080"]
    environment: {REDIS_ADDR: "redis:6379"}
    depends_on: [redis]
  redis: {image: "redis:7-alpine", volumes: ["redis-data:/data"]}
volumes: {redis-data: }`,
    says: [
      server('redis', 'redis', REDIS),
      elsewhere(
        'app',
        'redis',
        'write REDIS_ADDR: $$(REDIS_HOST):$$(REDIS_PORT); it has to log in, as $$(REDIS_USERNAME) with $$(REDIS_PASSWORD)',
      ),
    ],
    after: `
services:
  app:
    build: ./app
    ports: ["8080:8080"]
    environment: {REDIS_ADDR: "$$(REDIS_HOST):$$(REDIS_PORT)"}
    depends_on: [redis]
  redis: {${provider('redis')}}
volumes: {redis-data: }`,
    apps: { app: { services: ['redis'] } },
  },
  {
    name: 'Miniflux, whose health is a command',
    before: `
services:
  miniflux:
    image: ghcr.io/miniflux/miniflux:latest
    ports: ["80:8080"]
    depends_on: {db: {condition: service_healthy}}
    environment: ["DATABASE_URL=postgres://app:not-a-secret@db/app?sslmode=disable", "RUN_MIGRATIONS=1"]
  db:${POSTGRES_SERVER}
    healthcheck: {test: ["CMD", "pg_isready", "-U", "miniflux"], interval: 10s, start_period: 30s}
volumes: {db_data: }`,
    says: [
      server('db', 'postgres', POSTGRES),
      elsewhere('miniflux', 'db', 'write DATABASE_URL: $$(DATABASE_URL)?sslmode=disable'),
    ],
    after: `
services:
  miniflux:
    image: ghcr.io/miniflux/miniflux:latest
    ports: ["80:8080"]
    depends_on: {db: {condition: service_healthy}}
    environment: ["DATABASE_URL=$$(DATABASE_URL)?sslmode=disable", "RUN_MIGRATIONS=1"]
  db: {${provider('postgres')}}
volumes: {db_data: }`,
    apps: { miniflux: { services: ['db'] } },
  },
  {
    name: 'Umami',
    before: `
services:
  umami:
    image: ghcr.io/umami-software/umami:postgresql-latest
    ports: ["3000:3000"]
    environment: {DATABASE_URL: "postgresql://app:not-a-secret@db:5432/app", DATABASE_TYPE: postgresql, APP_SECRET: long}
    depends_on: [db]
    restart: always
    healthcheck: {test: ["CMD-SHELL", "curl http://localhost:3000/api/heartbeat"]}
  db:${POSTGRES_SERVER}
volumes: {db_data: }`,
    says: [
      server('db', 'postgres', POSTGRES),
      elsewhere('umami', 'db', 'remove DATABASE_URL, which it gets by itself'),
    ],
    after: `
services:
  umami:
    image: ghcr.io/umami-software/umami:postgresql-latest
    ports: ["3000:3000"]
    environment: {DATABASE_TYPE: postgresql, APP_SECRET: long}
    depends_on: [db]
    restart: always
    healthcheck: {test: ["CMD-SHELL", "curl http://localhost:3000/api/heartbeat"]}
  db: {${provider('postgres')}}
volumes: {db_data: }`,
    apps: { umami: { services: ['db'] } },
  },
  {
    name: 'Wiki.js, which silences the log of its database',
    before: `
services:
  db:${POSTGRES_SERVER}
    logging: {driver: none}
  wiki:
    image: ghcr.io/requarks/wiki:2
    depends_on: [db]
    init: true
    environment: {DB_TYPE: postgres, DB_HOST: db, DB_PORT: 5432, DB_USER: app, DB_PASS: not-a-secret, DB_NAME: app}
    ports: ["80:3000"]
volumes: {db_data: }`,
    says: [
      server('db', 'postgres', POSTGRES),
      elsewhere(
        'wiki',
        'db',
        'write DB_HOST: $$(PGHOST), DB_USER: $$(PGUSER), DB_PASS: $$(PGPASSWORD), DB_NAME: $$(PGDATABASE)',
      ),
    ],
    ignores: ['services.wiki.init'],
    after: `
services:
  db: {${provider('postgres')}}
  wiki:
    image: ghcr.io/requarks/wiki:2
    depends_on: [db]
    init: true
    environment: {DB_TYPE: postgres, DB_HOST: $$(PGHOST), DB_PORT: 5432, DB_USER: $$(PGUSER), DB_PASS: $$(PGPASSWORD), DB_NAME: $$(PGDATABASE)}
    ports: ["80:3000"]
volumes: {db_data: }`,
    apps: { wiki: { services: ['db'] } },
  },
  {
    name: 'n8n with PostgreSQL, by a link',
    before: `
services:
  postgres:
    image: postgres:17
    environment: {POSTGRES_USER: n8n, POSTGRES_PASSWORD: not-a-secret, POSTGRES_DB: flows}
    volumes: ["db_storage:/var/lib/postgresql/data"]
  n8n:
    image: docker.n8n.io/n8nio/n8n
    restart: always
    environment:
    - DB_TYPE=postgresdb
    - DB_POSTGRESDB_HOST=postgres
    - DB_POSTGRESDB_PORT=5432
    - DB_POSTGRESDB_DATABASE=flows
    - DB_POSTGRESDB_USER=n8n
    - DB_POSTGRESDB_PASSWORD=not-a-secret
    ports: [5678:5678]
    links: [postgres]
    volumes: ["n8n_storage:/home/node/.n8n"]
    depends_on: {postgres: {condition: service_healthy}}
volumes: {db_storage: , n8n_storage: }`,
    says: [
      server('postgres', 'postgres', POSTGRES),
      elsewhere(
        'n8n',
        'postgres',
        'write DB_POSTGRESDB_HOST: $$(PGHOST), DB_POSTGRESDB_DATABASE: $$(PGDATABASE), DB_POSTGRESDB_USER: $$(PGUSER), DB_POSTGRESDB_PASSWORD: $$(PGPASSWORD)',
      ),
    ],
    ignores: ['services.n8n.links'],
    after: `
services:
  postgres: {${provider('postgres')}}
  n8n:
    image: docker.n8n.io/n8nio/n8n
    restart: always
    environment:
    - DB_TYPE=postgresdb
    - DB_POSTGRESDB_HOST=$$(PGHOST)
    - DB_POSTGRESDB_PORT=5432
    - DB_POSTGRESDB_DATABASE=$$(PGDATABASE)
    - DB_POSTGRESDB_USER=$$(PGUSER)
    - DB_POSTGRESDB_PASSWORD=$$(PGPASSWORD)
    ports: [5678:5678]
    links: [postgres]
    volumes: ["n8n_storage:/home/node/.n8n"]
    depends_on: {postgres: {condition: service_healthy}}
volumes: {db_storage: , n8n_storage: }`,
    apps: { n8n: { services: ['postgres'], volumes: ['/home/node/.n8n'] } },
  },
  {
    name: 'a blog in Java, its address for JDBC',
    before: `
services:
  app:
    build: .
    ports: ["8080:8080"]
    environment: ["DATABASE_URL=jdbc:postgresql://db:5432/app", "DATABASE_USER=app", "DATABASE_PASSWORD=not-a-secret"]
    depends_on: [db]
    networks: [blog-network]
  db:${POSTGRES_SERVER}
    networks: [blog-network]
volumes: {db_data: }
networks: {blog-network: {driver: bridge}}`,
    says: [
      server('db', 'postgres', POSTGRES),
      elsewhere(
        'app',
        'db',
        'write DATABASE_URL: $$(SPRING_DATASOURCE_URL), DATABASE_USER: $$(PGUSER), DATABASE_PASSWORD: $$(PGPASSWORD)',
      ),
    ],
    ignores: ['services.app.networks', 'networks'],
    after: `
services:
  app:
    build: .
    ports: ["8080:8080"]
    environment: ["DATABASE_URL=$$(SPRING_DATASOURCE_URL)", "DATABASE_USER=$$(PGUSER)", "DATABASE_PASSWORD=$$(PGPASSWORD)"]
    depends_on: [db]
    networks: [blog-network]
  db: {${provider('postgres')}}
volumes: {db_data: }
networks: {blog-network: {driver: bridge}}`,
    apps: { app: { services: ['db'] } },
  },
  {
    name: 'Vaultwarden, which keeps files alone',
    before: `
services:
  vaultwarden:
    image: vaultwarden/server:latest
    restart: unless-stopped
    ports: ["8888:80"]
    environment: {SIGNUPS_ALLOWED: "true"}
    volumes: ["vaultwarden_data:/data"]
volumes: {vaultwarden_data: }`,
    says: [],
    apps: { vaultwarden: { volumes: ['/data'] } },
  },
  {
    name: 'linkding in a folder of the machine',
    before: `
services:
  linkding:
    container_name: linkding
    image: sissbruecker/linkding:latest
    ports: ["9090:9090"]
    volumes: ["./data:/etc/linkding/data"]
    env_file: [{path: .env, required: false}]
    restart: unless-stopped`,
    says: [
      'services.linkding.volumes (./data: instances see no folders of the machine: put files into the image or the folder that is pushed, and name a volume for data, such as data:/data)',
    ],
    ignores: ['services.linkding.container_name'],
    after: `
services:
  linkding:
    container_name: linkding
    image: sissbruecker/linkding:latest
    ports: ["9090:9090"]
    volumes: ["data:/etc/linkding/data"]
    env_file: [{path: .env, required: false}]
    restart: unless-stopped
volumes: {data: }`,
    apps: { linkding: { volumes: ['/etc/linkding/data'] } },
  },
];
