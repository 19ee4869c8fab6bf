# ruff: noqa: E501 - sample sentences, a language a line
"""The detector of languages on sentences written for it: six for each of eleven languages."""

from __future__ import annotations

import pytest

from ziggurat.exam.rules.language import language_of, shares_of

SENTENCES = {
    "en": ["The boat leaves at seven.", "I do not like cold soup.", "Where did you put my keys?", "Snow covers every roof in the village.", "She told us a long story.", "It is late, so we go home."],
    "zh": ["船七点出发。", "我不喜欢冷汤。", "你把我的钥匙放哪儿了？", "村里的屋顶都被雪盖住了。", "她给我们讲了一个很长的故事。", "天晚了，我们回家。"],
    "fr": ["Le bateau part à sept heures.", "Je n'aime pas la soupe froide.", "Où as-tu mis mes clés ?", "La neige couvre tous les toits du village.", "Elle nous a raconté une longue histoire.", "Il est tard, nous rentrons."],
    "de": ["Das Schiff fährt um sieben Uhr ab.", "Ich mag keine kalte Suppe.", "Wo hast du meine Schlüssel hingelegt?", "Schnee liegt auf allen Dächern des Dorfes.", "Sie erzählte uns eine lange Geschichte.", "Es ist spät, wir gehen nach Hause."],
    "es": ["El barco sale a las siete.", "No me gusta la sopa fría.", "¿Dónde has puesto mis llaves?", "La nieve cubre todos los tejados del pueblo.", "Ella nos contó una larga historia.", "Es tarde, nos vamos a casa."],
    "it": ["La nave parte alle sette di mattina.", "Non mi piace la zuppa fredda.", "Dove hai messo le mie chiavi?", "La neve copre tutti i tetti del paese.", "Lei ci ha raccontato una lunga storia.", "È tardi, andiamo a casa."],
    "pt": ["O barco parte às sete da manhã.", "Eu não gosto de sopa fria.", "Onde você pôs as minhas chaves?", "A neve cobre todos os telhados da aldeia.", "Ela nos contou uma longa história.", "É tarde, vamos para casa."],
    "ru": ["Корабль отходит в семь.", "Я не люблю холодный суп.", "Куда ты положил мои ключи?", "Снег лежит на всех крышах.", "Она рассказала нам историю.", "Уже поздно, идём домой."],
    "ja": ["船は七時に出ます。", "冷たいスープは好きではありません。", "私の鍵をどこに置きましたか。", "村の屋根は雪で覆われている。", "彼女は長い話をしてくれた。", "もう遅いので帰ります。"],
    "ko": ["배는 일곱 시에 떠납니다.", "저는 차가운 수프를 좋아하지 않아요.", "제 열쇠를 어디에 두었어요?", "마을 지붕이 눈으로 덮여 있다.", "그녀는 긴 이야기를 해 주었다.", "늦었으니 집에 갑시다."],
    "ar": ["تغادر السفينة في السابعة.", "لا أحب الحساء البارد.", "أين وضعت مفاتيحي؟", "الثلج يغطي كل الأسطح.", "حكت لنا قصة طويلة.", "الوقت متأخر، لنذهب إلى البيت."],
}  # fmt: skip


@pytest.mark.parametrize("language", sorted(SENTENCES))
def test_the_language_of_a_sentence(language):
    assert [language_of(one) for one in SENTENCES[language]] == [language] * 6


def test_mixed_text_has_shares_and_numbers_have_no_language():
    shares = shares_of("今天天气 very nice, 我们去 the park")
    assert set(shares) == {"zh", "en"}
    assert sum(shares.values()) == pytest.approx(1)
    assert language_of("12 + 3 = 15") == "unknown"
