export default {
  "New message": "Nova mensagem",
  "the store does not answer": "o armazenamento não responde",
  "the store's notifications do not come": "as notificações do armazenamento não chegam",
  "the engine stands still": "o motor está parado",
  "The service is not healthy": "O serviço não está saudável",
  "The store could lose what it accepted": "O armazenamento pode perder o que aceitou",
  "In the last minute 1 of 100 deliveries left {late} late or later; the target is {target}.":
    "No último minuto, 1 de cada 100 entregas saiu com {late} de atraso ou mais; a meta é {target}.",
  "Left alone, because they fail": "Deixados em paz, porque falham",
  Pending: "Pendentes",
  "Oldest overdue": "Maior atraso",
  none: "nenhum",
  Replicas: "Réplicas",
  "Deliveries per minute": "Entregas por minuto",
  Lateness: "Atraso",
  Failures: "Falhas",
  "No data yet.": "Ainda não há dados.",
  "{count} delivery in the last hour, {failed} failed|{count} deliveries in the last hour, {failed} failed":
    "{count} entrega na última hora, {failed} com falha|{count} entregas na última hora, {failed} com falha",
  "p99 at most {late} in the last hour": "p99 de no máximo {late} na última hora",
  "nothing was due": "nada venceu",
  "Next due": "A seguir",
  "All {count}": "Todas: {count}",
  "Nothing is scheduled": "Nada está agendado",
  "A message is one webhook call at an instant of your choice. Schedule the first one to the built-in inbox and watch it arrive.":
    "Uma mensagem é uma chamada de webhook no instante que você escolher. Agende a primeira para a caixa de entrada embutida e veja-a chegar.",
  Punctuality: "Pontualidade",
  "how late first attempts left": "atraso das primeiras tentativas",
  Window: "Janela",
  "Last minute": "Último minuto",
  "Last hour": "Última hora",
  "Last day": "Último dia",
  Sent: "Enviadas",
  Worst: "Pior",
  Service: "Serviço",
  Version: "Versão",
  Uptime: "Ativo há",
  "Time zone": "Fuso horário",
  Store: "Armazenamento",
  "{version}, its own": "{version}, próprio",
  Persistence: "Persistência",
  "Memory of the store": "Memória do armazenamento",
  "On the wire": "Em trânsito",
  // What the store says of itself
  "no append-only file": "sem arquivo append-only",
  "No append-only file: a crash of the store loses what it accepted. Set appendonly yes.":
    "Sem arquivo append-only: uma queda do armazenamento perde o que ele aceitou. Defina appendonly yes.",
  "appendfsync is no: a crash of the machine can lose half a minute. Set everysec or always.":
    "appendfsync é no: uma queda da máquina pode perder meio minuto. Defina everysec ou always.",
  "The last write to the append-only file failed: look at the store's disk.":
    "A última escrita no arquivo append-only falhou: verifique o disco do armazenamento.",
  "The store's memory is nearly full: raise maxmemory before new messages are refused.":
    "A memória do armazenamento está quase cheia: aumente maxmemory antes que novas mensagens sejam recusadas.",
  "The server is a read-only replica: point the settings at the primary.":
    "O servidor é uma réplica somente leitura: aponte as configurações para o primário.",
};
